//! Links dom0 with the script of its architecture.

fn main() {
    linker::domain(linker::Load::Dom0);
}

//! Links the domain with the script of its architecture.

fn main() {
    linker::domain(linker::Load::Guest);
}

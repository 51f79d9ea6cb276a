//! What a step takes of the heap; counted for each thread on its own.

/// Runs `what`; tells by how many bytes the heap of this thread grew at most meanwhile.
pub fn peak<R>(what: impl FnOnce() -> R) -> (R, usize) {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(what()));
    (result.expect("it ran"), info.bytes_max.try_into().expect("less than the address space"))
}

//! Policy digests, computed without a TPM: on the host, and for an object before its first use.

use sha2::{Digest, Sha256};

use crate::{
    ids::Code,
    pcr::{self, Selection, Values},
    wire::Bytes,
};

/// The digest of a policy of one PolicyPCR in a new session. Source: part 3, 23.7.
pub fn pcr(selection: Selection, values: &Values) -> [u8; 32] {
    let mut selected = Bytes::<16>::default();
    selection.emit(&mut selected);
    Sha256::new()
        .chain_update([0; 32])
        .chain_update(Code::PolicyPcr.number().to_be_bytes())
        .chain_update(selected.as_slice())
        .chain_update(pcr::composite(selection, values))
        .finalize()
        .into()
}

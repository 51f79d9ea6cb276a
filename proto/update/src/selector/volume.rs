//! Whether a partition starts what an image of a selector does.
//!
//! U-Boot keeps its variables in a file of the first partition, `ubootefi.var`, and writes it in each start. So a
//! partition is compared with the image that it should hold by what firmware reads on its way to the selector, and by
//! nothing else: of a FAT16 volume as the host tool makes it
//!
//! | part of the volume | is the same if |
//! |---|---|
//! | boot sector, all that is ahead of the tables | its bytes are |
//! | each copy of the allocation table | the entries of clusters that the image uses are; those of others lead to none of them |
//! | root folder | the entries of the image are, at their places; behind them are those of that file and of deleted files |
//! | clusters that the image uses | their bytes are |
//! | other clusters | always |
//!
//! The entries of the image come first, so whoever looks for `\EFI\BOOT` finds that of the image, and every chain that
//! begins there goes by entries and clusters that are those of the image. That file has no cluster of theirs, so that who
//! writes to it again does not write to them. Which program firmware starts by its variables is firmware's own matter,
//! and is not judged here. What the image leaves as zeros beyond its end is compared with nothing: it uses no cluster
//! there, or it is compared whole.
//!
//! An image that is anything else, FAT12 or FAT32 too, is compared byte by byte. The image was signed; the partition is
//! whatever the disk gives. The comparison takes it in pieces, once, and holds none of it.
//!
//! Source: Microsoft's FAT specification 1.03; U-Boot `lib/efi_loader/efi_var_file.c` for the name.

/// Bytes of an entry of a folder. Every part of a volume begins at a multiple of it.
const UNIT: usize = 32;
/// Clusters of a FAT16 volume, with a distance from the limits at which not all firmware counts alike.
const CLUSTERS: core::ops::Range<usize> = 4085 + 16..65_525 - 16;
/// Entries of the table that stand for no cluster.
const FIRST_CLUSTER: usize = 2;
/// From here on an entry leads to no cluster: it is bad, or the last one.
const NO_CLUSTER: u16 = 0xfff7;
/// The first byte of an entry of a folder that was deleted.
const DELETED: u8 = 0xe5;
/// The file's name in its entry.
const FILE: &[u8; 11] = b"UBOOTEFIVAR";
/// The entry ahead of it, which has the name in lower case.
const FILE_LONG: &[u8; UNIT] = b"Au\0b\0o\0o\0t\0\x0f\0ce\0f\0i\0.\0v\0a\0\0\0r\0\0\0";
/// Attributes that it may have: none, or *archive*.
const FILE_ATTRIBUTES: [u8; 2] = [0, 0x20];

/// A comparison under way.
#[derive(Clone, Debug)]
pub(super) struct Comparison<'a> {
    image: &'a [u8],
    volume: Option<Volume>,
    at: usize,
    is_same: bool,
}

impl<'a> Comparison<'a> {
    /// Of all bytes.
    pub(super) const fn exact(image: &'a [u8]) -> Self {
        Self { image, volume: None, at: 0, is_same: true }
    }

    /// Of what firmware reads on its way to the selector.
    pub(super) fn of_volume(image: &'a [u8]) -> Self {
        Self { volume: Volume::of(image), ..Self::exact(image) }
    }

    /// Takes the next bytes of the partition.
    pub(super) fn take(&mut self, found: &[u8]) {
        let end = self.at.saturating_add(found.len());
        self.is_same &= match (self.image.get(self.at..end), &self.volume) {
            (Some(image), None) => image == found,
            (Some(image), Some(volume)) => {
                let units = (self.at..).step_by(UNIT).zip(image.chunks(UNIT).zip(found.chunks(UNIT)));
                found.len().is_multiple_of(UNIT)
                    && units.into_iter().all(|(at, (image, found))| {
                        image == found || volume.may_differ(self.image, at, image, found)
                    })
            }
            (None, _) => false,
        };
        self.at = end;
    }

    /// Bytes that are to come.
    pub(super) const fn left(&self) -> usize {
        self.image.len().saturating_sub(self.at)
    }

    /// Whether all of it came, and was the same.
    pub(super) const fn is_same(&self) -> bool {
        self.is_same && self.at == self.image.len()
    }
}

/// Where the parts of a FAT16 volume lie, in bytes from its begin; each is a multiple of [`UNIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Volume {
    tables: usize,
    table_bytes: usize,
    root: usize,
    data: usize,
    cluster_bytes: usize,
    clusters: usize,
}

impl Volume {
    /// That of an image, if it is a FAT16 volume all of whose clusters in use are in the image.
    fn of(image: &[u8]) -> Option<Self> {
        let byte = |at: usize| image.get(at).map(|&byte| usize::from(byte));
        let half = |at: usize| Some(byte(at)? | byte(at + 1)? << 8);
        let (sector, reserved, copies, entries) = (half(11)?, half(14)?, byte(16)?, half(17)?);
        let cluster_bytes = sector.checked_mul(byte(13)?)?;
        let table_bytes = sector.checked_mul(half(22)?)?;
        let sectors = match half(19)? {
            0 => half(32)? | half(34)? << 16,
            sectors => sectors,
        };
        let tables = reserved.checked_mul(sector)?;
        let root = table_bytes.checked_mul(copies)?.checked_add(tables)?;
        let data = entries.checked_mul(UNIT)?.checked_add(root)?;
        let clusters = sectors.checked_mul(sector)?.checked_sub(data)?.checked_div(cluster_bytes)?;
        let volume = Self { tables, table_bytes, root, data, cluster_bytes, clusters };
        let is_fat16 = sector >= 512
            && sector.is_power_of_two()
            && cluster_bytes.is_power_of_two()
            && tables > 0
            && root > tables
            && data.is_multiple_of(sector)
            && data > root
            && data <= image.len()
            && CLUSTERS.contains(&clusters)
            && (clusters + FIRST_CLUSTER) * 2 <= table_bytes;
        let all = FIRST_CLUSTER..clusters.saturating_add(FIRST_CLUSTER);
        let is_whole =
            || all.filter(|&cluster| volume.uses(image, cluster)).all(|last| volume.end(last) <= image.len());
        let are_equal = || {
            let copies = image.get(tables..root).unwrap_or_default();
            copies.chunks(table_bytes).all(|copy| copies.get(..table_bytes) == Some(copy))
        };
        (is_fat16 && are_equal() && is_whole()).then_some(volume)
    }

    /// Where a cluster ends.
    const fn end(&self, cluster: usize) -> usize {
        self.data + (cluster + 1 - FIRST_CLUSTER) * self.cluster_bytes
    }

    /// Whether the image has something in a cluster. It has nothing in what is none.
    fn uses(&self, image: &[u8], cluster: usize) -> bool {
        let at = self.tables + cluster * 2;
        self.has(cluster) && image.get(at..at + 2).is_none_or(|entry| entry != [0, 0])
    }

    fn has(&self, cluster: usize) -> bool {
        (FIRST_CLUSTER..self.clusters + FIRST_CLUSTER).contains(&cluster)
    }

    /// Whether a file that is not the image's may have this cluster.
    fn is_free(&self, image: &[u8], cluster: u16) -> bool {
        self.has(cluster.into()) && !self.uses(image, cluster.into())
    }

    /// Whether one unit of the partition, at `at`, may be another one than that of the image.
    fn may_differ(&self, image: &[u8], at: usize, unit: &[u8], found: &[u8]) -> bool {
        if at < self.tables {
            false
        } else if at < self.root {
            let first = (at - self.tables) % self.table_bytes / 2;
            let entries = (first..).zip(unit.as_chunks().0.iter().zip(found.as_chunks().0));
            entries.into_iter().all(|(cluster, (unit, found))| {
                let (unit, found) = (u16::from_le_bytes(*unit), u16::from_le_bytes(*found));
                let may_be = || found == 0 || found >= NO_CLUSTER || self.is_free(image, found);
                unit == found || (self.has(cluster) && unit == 0 && may_be())
            })
        } else if at < self.data {
            unit.first() == Some(&0) && self.is_of_the_file(image, found)
        } else {
            let cluster = (at - self.data) / self.cluster_bytes + FIRST_CLUSTER;
            self.has(cluster) && !self.uses(image, cluster)
        }
    }

    /// Whether an entry of the root folder is one of the file, or of a deleted one.
    fn is_of_the_file(&self, image: &[u8], entry: &[u8]) -> bool {
        let half = |at: usize| {
            let bytes = entry.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(u16::MAX, u16::from_le_bytes)
        };
        let (high, first) = (half(20), half(26));
        entry.first() == Some(&DELETED)
            || entry == FILE_LONG
            || (entry.starts_with(FILE)
                && entry.get(FILE.len()).is_some_and(|attributes| FILE_ATTRIBUTES.contains(attributes))
                && high == 0
                && (first == 0 || self.is_free(image, first)))
    }
}

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io::Cursor;
use std::rc::Rc;

use super::*;
use crate::disk::{Contents, Kind, Partition};

const IMAGE_MIB: u64 = 12;

/// An image whose second partition is the last one.
fn image(folder: &Path) -> PathBuf {
    let partition =
        |name, kind, size_mib, contents| Partition { name, kind, size_mib, contents, attributes: 0 };
    let slot = Contents::Bytes((0..3 << 20).map(|at: u32| (at.wrapping_mul(at) >> 9) as u8).collect());
    let files = || Contents::Files(BTreeMap::from([("server".to_owned(), b"a".to_vec())]));
    let partitions = [
        partition("esp", Kind::Esp, 2, files()),
        partition("slot-a", Kind::Slot, 4, slot),
        partition("config", Kind::Config, 2, files()),
        partition("P3", Kind::Persist, 2, Contents::Empty),
    ];
    let file = folder.join("disk.img");
    disk::write(&file, &partitions).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), IMAGE_MIB * MIB);
    file
}

/// A disk full of what was there before.
fn used(size: u64) -> Cursor<Vec<u8>> {
    Cursor::new(vec![0xaa; size as usize])
}

#[test]
fn a_larger_disk_is_used_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = image(folder.path());
    // Some MiB more, and some blocks: those with which the last partition ends a MiB and more before the disk, too.
    let image_bytes = IMAGE_MIB * MIB;
    let larger = [0, 32, 33, 2040, 2041].map(|blocks| 20 * MIB + blocks * SECTOR);
    for size in [image_bytes, image_bytes + SECTOR, 41 * MIB + 7 * SECTOR].into_iter().chain(larger) {
        let mut content = Content::of(&file, size).unwrap();
        let mut target = used(size);
        write(&mut content, &mut target, &|_| {}).unwrap();
        verify(&mut content, &mut target, &|_| {}).unwrap();

        let bytes = target.into_inner();
        let device = Cursor::new(bytes.clone());
        let table = gpt::GptConfig::new().only_valid_headers(true).open_from_device(device).unwrap();
        assert_eq!(table.primary_header().unwrap().backup_lba, size / SECTOR - 1, "{size}");
        assert_eq!(table.backup_header().unwrap().current_lba, size / SECTOR - 1);
        let partitions: Vec<_> = table.partitions().values().collect();
        let last = partitions.last().unwrap();
        let blocks = last.bytes_len(gpt::disk::LogicalBlockSize::Lb512).unwrap() / SECTOR;
        let end = (last.first_lba + blocks) * SECTOR;
        let room = size - end;
        assert!((33 * SECTOR..2 * MIB + SECTOR).contains(&room), "{size}: {room} bytes behind the last one");

        // The rest is as in the image, and what lies between is not touched.
        let old = fs::read(&file).unwrap();
        let data = MIB as usize..(IMAGE_MIB - 1) as usize * MIB as usize;
        assert!(bytes[data.clone()] == old[data]);
        let between = image_bytes as usize..(end - MIB) as usize;
        assert!(bytes.get(between).unwrap_or_default().iter().all(|&byte| byte == 0xaa));
        // Neither of an earlier store's superblocks, in its first and its last page, is left.
        for page in [last.first_lba * SECTOR, end - 4096] {
            let page = bytes.get(page as usize..page as usize + 4096).unwrap();
            assert!(page.iter().all(|&byte| byte == 0), "{size}");
        }
        // Nor anything of an earlier table at the end: only the new copy.
        let tail = bytes.get((end - MIB) as usize..(size - 33 * SECTOR) as usize).unwrap();
        assert!(tail.iter().all(|&byte| byte == 0), "{size}");
    }
    assert!(Content::of(&file, IMAGE_MIB * MIB - SECTOR).is_err(), "too small");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    assert!(Content::of(&file, IMAGE_MIB * MIB).is_err(), "no image");
}

#[test]
fn whatever_is_read_back_otherwise_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = image(folder.path());
    let size = 20 * MIB;
    let mut content = Content::of(&file, size).unwrap();
    let mut target = used(size);
    write(&mut content, &mut target, &|_| {}).unwrap();
    for at in [0, 512, 3 * MIB + 5, IMAGE_MIB * MIB - 1, size - 2 * MIB, size - 1] {
        target.get_mut()[at as usize] ^= 1;
        let error = verify(&mut content, &mut target, &|_| {}).unwrap_err().to_string();
        assert_eq!(error, format!("it does not hold what was written, from byte {at} on"));
        target.get_mut()[at as usize] ^= 1;
    }
    // Between image and tail nothing was written.
    target.get_mut()[15 << 20] ^= 1;
    verify(&mut content, &mut target, &|_| {}).unwrap();
    target.get_mut().truncate(10 << 20);
    assert!(verify(&mut content, &mut target, &|_| {}).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn progress_rises_to_a_hundred() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = Content::of(&image(folder.path()), 20 * MIB).unwrap();
    let told = RefCell::new(Vec::new());
    write(&mut content, &mut used(20 * MIB), &|percent| told.borrow_mut().push(percent)).unwrap();
    let told = told.into_inner();
    assert!(told.is_sorted() && told.len() > 3 && told.last() == Some(&100), "{told:?}");
}

/// `/sys/class/block` with one disk and two partitions, as Linux 6.1 has it for a USB stick.
fn class(folder: &Path) -> PathBuf {
    let put = |path: &str, text: &str| {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    put("sdb/dev", "8:16\n");
    put("sdb/diskseq", "9\n");
    put("sdb/size", "60062500\n");
    put("sdb/removable", "1\n");
    put("sdb/ro", "0\n");
    put("sdb/queue/logical_block_size", "512\n");
    put("sdb/device/model", "Ultra Fit       \n");
    put("sdb/device/serial", "4C530001\n");
    for (part, number, dev) in [("sdb1", "1", "8:17"), ("sdb2", "2", "8:18")] {
        for place in [part.to_owned(), format!("sdb/{part}")] {
            put(&format!("{place}/partition"), number);
            put(&format!("{place}/dev"), dev);
            put(&format!("{place}/size"), "2048\n");
        }
    }
    folder.to_owned()
}

const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 27 0:40 /@home /home rw,relatime shared:1 - btrfs /dev/sdc2 rw
";
const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sdd1 partition\t1\t0\t-2\n";

fn system() -> System {
    System { mounts: MOUNTS.into(), swaps: SWAPS.into() }
}

#[test]
fn a_disk_is_described_and_may_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::read(&class(folder.path()), "sdb").unwrap();
    assert_eq!((disk.size_bytes, disk.sequence.as_str()), (60_062_500 * 512, "9"));
    let names: Vec<&str> = disk.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!((names, disk.removable, disk.number.as_str()), (vec!["sdb", "sdb1", "sdb2"], true, "8:16"));
    let told = disk.to_string();
    for part in ["/dev/sdb: 28.6 GiB (30752000000 bytes)", "Ultra Fit\n", "4C530001", "yes", "sdb1, sdb2"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(refusals(&disk, &system(), 1 << 30), Vec::<String>::new());
    assert!(Disk::read(folder.path(), "sdz").is_err());
}

#[test]
fn a_wrong_disk_is_refused_for_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let class = class(folder.path());
    let right = Disk::read(&class, "sdb").unwrap();
    let with = |change: &dyn Fn(&mut Disk)| {
        let mut disk = right.clone();
        change(&mut disk);
        refusals(&disk, &system(), 1 << 30)
    };
    let one = |reasons: Vec<String>, part: &str| {
        assert!(matches!(&reasons[..], [reason] if reason.contains(part)), "{part}: {reasons:?}");
    };
    one(refusals(&Disk::read(&class, "sdb1").unwrap(), &system(), 1000), "sdb1 is a partition");
    one(refusals(&right, &system(), right.size_bytes + 1), "it has 29327 MiB, and the image 29327 MiB");
    one(with(&|disk| disk.size_bytes = 0), "no medium");
    one(with(&|disk| disk.read_only = true), "read-only");
    one(with(&|disk| disk.block_bytes = 4096), "blocks have 4096 bytes");
    one(with(&|disk| disk.slaves = vec!["sda".into()]), "made of sda");
    one(with(&|disk| disk.parts[2].holders = vec!["dm-0".into()]), "sdb2 is used by dm-0");
    // The root file system is told by number, for its source may be called /dev/root.
    one(with(&|disk| disk.parts[1].number = "8:1".into()), "this system runs from sdb1");
    // Btrfs has numbers of its own, and is told by its source.
    one(with(&|disk| disk.parts[2].name = "sdc2".into()), "sdc2 is mounted on /home");
    one(with(&|disk| disk.parts[1].name = "sdd1".into()), "swaps to sdd1");
    // The disk itself may be mounted without partitions.
    one(with(&|disk| disk.parts[0].number = "8:1".into()), "this system runs from sdb");
    // Numbers and names are compared whole.
    assert!(with(&|disk| disk.parts[1].number = "8:10".into()).is_empty());
    assert!(with(&|disk| disk.parts[1].name = "sdc22".into()).is_empty());
}

#[test]
fn only_disks_are_taken_by_path_or_name() {
    for (device, why) in [
        ("null", "/dev/null is no disk"),
        ("/dev/null", "/dev/null is no disk"),
        ("Cargo.toml", "Cargo.toml is no disk"),
        ("nosuch", "there is no disk nosuch"),
    ] {
        let told = node(Path::new(device)).unwrap_err().to_string();
        assert!(told.ends_with(why), "{told}");
    }
}

#[test]
fn the_image_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.img");
    let write = |slot: Vec<u8>| {
        let part = |name, kind, contents| Partition { name, kind, size_mib: 2, contents, attributes: 0 };
        let program = (crate::selector::path(Arch::Aarch64).to_owned(), b"MZ".to_vec());
        let parts = [
            part("esp", Kind::Esp, Contents::Files(BTreeMap::from([program]))),
            part("slot-a", Kind::Slot, Contents::Bytes(slot)),
            part("config", Kind::Config, Contents::Empty),
        ];
        disk::write(&image, &parts).unwrap();
        holds(&image, Arch::X86_64).unwrap()
    };
    let signed = |key: &Key| {
        let parts = [(proto_update::manifest::Kind::Xen, b"MZ".to_vec())];
        slot::signed(proto_update::manifest::Machine::Aarch64, &parts, key, "1.2").unwrap()
    };
    let own = format!("{}: version 1.2, for aarch64", image.display());
    assert_eq!(write(signed(&Key::strange())), own);
    assert_eq!(write(signed(&Key::test().unwrap())), format!("{own}\n  {}", slot::TEST_KEY));
    assert_eq!(write(Vec::new()), format!("{}: version unknown, for aarch64", image.display()));
    let told = format!("{:#}", holds(Path::new("/nosuch/disk.img"), Arch::Aarch64).unwrap_err());
    assert!(told.contains("`cargo xtask image --arch aarch64` makes one"), "{told}");
}

#[test]
fn the_name_has_to_be_typed() {
    assert!(ask("sdb", &mut Cursor::new("sdb\n")).is_ok());
    assert!(ask("sdb", &mut Cursor::new("/dev/sdb\n")).is_ok());
    for answer in ["y\n", "", "sdb1\n", "/dev/sda\n", "/dev/\n", "dev/sdb\n"] {
        assert!(ask("sdb", &mut Cursor::new(answer)).is_err(), "{answer}");
    }
}

/// A disk that is held by one at most, as the kernel has it, and what is seen under its name.
struct Fake {
    bytes: Rc<RefCell<Vec<u8>>>,
    held: Rc<Cell<bool>>,
    /// That of the disk that is opened.
    number: &'static str,
    described: RefCell<Disk>,
}

struct Handle {
    bytes: Rc<RefCell<Vec<u8>>>,
    held: Rc<Cell<bool>>,
    holds: bool,
    at: u64,
}

impl Handle {
    /// Does with the bytes at its place what a `Cursor` does, as long as the disk is held.
    fn with(
        &mut self,
        act: impl FnOnce(&mut Cursor<&mut [u8]>) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        assert!(self.held.get(), "nobody holds the disk");
        let mut bytes = self.bytes.borrow_mut();
        let mut cursor = Cursor::new(&mut bytes[..]);
        cursor.set_position(self.at);
        let count = act(&mut cursor)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.with(|cursor| cursor.read(buffer))
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        assert!(self.holds, "only who holds it writes");
        self.with(|cursor| cursor.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let SeekFrom::Start(at) = to else { panic!("{to:?}") };
        self.at = at;
        Ok(at)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.holds {
            self.held.set(false);
        }
    }
}

impl Fake {
    fn new(size: u64) -> Self {
        let part = Part { name: "sdb".into(), number: "8:16".into(), holders: Vec::new() };
        let disk = Disk {
            name: "sdb".into(),
            number: "8:16".into(),
            sequence: "9".into(),
            size_bytes: size,
            block_bytes: SECTOR,
            parts: vec![part],
            ..Disk::default()
        };
        Self {
            bytes: Rc::new(RefCell::new(used(size).into_inner())),
            held: Rc::default(),
            number: "8:16",
            described: RefCell::new(disk),
        }
    }

    fn open(&self, holds: bool) -> Handle {
        Handle { bytes: self.bytes.clone(), held: self.held.clone(), holds, at: 0 }
    }

    fn untouched(&self) -> bool {
        self.bytes.borrow().iter().all(|&byte| byte == 0xaa)
    }
}

impl Access for Fake {
    type Handle = Handle;

    fn hold(&self) -> Result<Handle> {
        ensure!(!self.held.replace(true), "cannot open it alone");
        Ok(self.open(true))
    }

    fn reader(&self) -> Result<Handle> {
        Ok(self.open(false))
    }

    fn number(&self, _: &Handle) -> Result<String> {
        Ok(self.number.into())
    }

    fn sync(&self, _: &Handle) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> Result<Disk> {
        assert!(self.held.get(), "it may get another name while it is described");
        Ok(self.described.borrow().clone())
    }
}

#[test]
fn a_disk_is_held_from_its_description_until_it_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = image(folder.path());
    let fake = Fake::new(20 * MIB);
    // The handles themselves look whether it is held, whenever they read and write.
    onto(&fake, &system(), &file, |disk| {
        assert!(fake.held.get() && fake.untouched() && disk.name == "sdb");
        Ok(())
    })
    .unwrap();
    assert!(!fake.held.get(), "others may use it now");
    let mut content = Content::of(&file, 20 * MIB).unwrap();
    verify(&mut content, &mut Cursor::new(fake.bytes.take()), &|_| {}).unwrap();
}

#[test]
fn nothing_is_written_to_another_disk_than_was_agreed_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = image(folder.path());
    let by_now = "nothing was written: /dev/sdb is not the disk any more that it was";
    let refused = |fake: &Fake, agree: &dyn Fn(&Disk) -> Result<()>| {
        let error = onto(fake, &system(), &file, agree).unwrap_err().to_string();
        assert!(fake.untouched(), "{error}");
        error
    };
    let unasked = |_: &Disk| -> Result<()> { panic!("it is not asked for") };
    // What was opened is not what has the name.
    let fake = Fake { number: "8:32", ..Fake::new(20 * MIB) };
    assert_eq!(refused(&fake, &unasked), by_now);
    // It changes while the person thinks: another medium, and another disk.
    type Change = fn(&mut Disk);
    let changes: [Change; 3] = [
        |disk| disk.sequence = "10".into(),
        |disk| disk.serial = "4C530002".into(),
        |disk| disk.size_bytes += SECTOR,
    ];
    for change in changes {
        let fake = Fake::new(20 * MIB);
        let changed = |_: &Disk| {
            change(&mut fake.described.borrow_mut());
            Ok(())
        };
        assert_eq!(refused(&fake, &changed), by_now);
    }
    assert_eq!(refused(&Fake::new(20 * MIB), &|_| bail!("no")), "no");
    // Somebody else holds it; if it is known who, that is told.
    let fake = Fake::new(20 * MIB);
    fake.held.set(true);
    assert_eq!(refused(&fake, &unasked), "cannot open it alone");
    fake.described.borrow_mut().parts[0].holders.push("dm-0".into());
    assert_eq!(refused(&fake, &unasked), "/dev/sdb is not written: sdb is used by dm-0");
}

#[test]
fn device_numbers_are_told_as_the_kernel_does() {
    for (device, told) in [(0x810, "8:16"), (0x1030a, "259:10"), (0x1001_0305, "259:65541")] {
        assert_eq!(number(device), told);
    }
    let null = File::open("/dev/null").unwrap();
    assert_eq!(number(null.metadata().unwrap().rdev()), "1:3");
}

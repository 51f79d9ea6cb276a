//! Applications: domains that are not ours. They get memory, an image and the ordinary Xen console.

use proto_xen::{DomId, Gfn, Port, hvm::param};

use crate::{
    build::{Platform, elf::Image, layout::Layout},
    domain::{Contents, Counter, Devices, Shell, Size, check_vcpus},
    error::{BuildError, Step},
    hypervisor::Hypervisor,
    port::OwnPort,
};

/// What an application is built from.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// An ELF file: with a PVH entry on x86, one that relocates itself on Arm.
    pub image: &'a [u8],
    /// Memory in pages.
    pub memory_pages: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// The CPUs that these run on, a bit each; all if there is none.
    pub cpus: u64,
    /// The command line.
    pub command_line: &'a str,
    /// How domains are started.
    pub platform: Platform,
}

/// An application that is built. Dropping it destroys it.
#[derive(Debug)]
pub struct Application<'h, H: Hypervisor> {
    /// dom0's end of the console, until someone takes it.
    pub console: Option<Console<'h, H>>,
    shell: Shell<'h, H>,
}

/// dom0's end of a console.
#[derive(Debug)]
pub struct Console<'h, H: Hypervisor> {
    /// The domain's page.
    pub page: Gfn,
    /// Our port.
    pub port: OwnPort<'h, H>,
}

impl<'h, H: Hypervisor> Application<'h, H> {
    /// Builds an application; it does not run yet.
    ///
    /// # Errors
    /// [`BuildError`]; nothing is left behind.
    pub fn build(hyp: &'h H, order: &Order<'_>) -> Result<Self, BuildError> {
        let image = Image::parse(order.platform, order.image)?;
        check_vcpus(&image, order.vcpus)?;
        // One special page: the console.
        let layout = Layout::new(order.platform, order.memory_pages, 1, &[])?;
        image.check_below(layout.image_limit())?;
        let Order { memory_pages, vcpus, cpus, .. } = *order;
        let size = Size { memory_pages, vcpus, cpus, devices: Devices::None, counter: Counter::Xen };
        let shell = Shell::create(hyp, order.platform, size)?;
        let id = shell.id();
        let (theirs, port) = OwnPort::connect(hyp, id)?;
        let page = layout.special(0);
        set_console(hyp, id, page, theirs)?;
        let contents = Contents {
            layout: &layout,
            image: &image,
            modules: &[],
            command_line: order.command_line,
            vcpus: order.vcpus,
        };
        shell.fill(&contents)?;
        Ok(Self { console: Some(Console { page, port }), shell })
    }

    /// Its number.
    pub fn id(&self) -> DomId {
        self.shell.id()
    }

    /// Lets it run.
    ///
    /// # Errors
    /// [`BuildError::Xen`].
    pub fn unpause(&self) -> Result<(), BuildError> {
        self.shell.unpause()
    }

    /// Stops it, ahead of its end: what is on its console then is all that will be.
    pub fn pause(&self) {
        self.shell.pause();
    }
}

/// Tells the domain where its console is.
fn set_console<H: Hypervisor>(hyp: &H, domain: DomId, page: Gfn, port: Port) -> Result<(), BuildError> {
    let refused = BuildError::at(Step::Console);
    hyp.set_param(domain, param::CONSOLE_PFN, page.0).map_err(&refused)?;
    hyp.set_param(domain, param::CONSOLE_EVTCHN, port.0.into()).map_err(&refused)
}

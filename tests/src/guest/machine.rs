//! The machine itself: QEMU, what it is started with, and how its run ends.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

use super::process::{Cost, Owned};
use super::{Kernel, Kit, Mode, script, share};
use crate::peer;

/// The emulator's program.
const QEMU: &str = "qemu-system-x86_64";

/// The disk under `/var/tmp`, in MiB: memory does not do where pages are to be written back.
const TEMPORARY: u32 = 512;

/// A guest that is to be.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its layout of cgroups.
    pub mode: Mode,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its memory, in MiB.
    pub memory: u32,
    /// Its processors.
    pub processors: u32,
    /// The size of the disk with the serial `scratch`, in MiB.
    pub disk: u32,
    /// How long it may take, from its start to its end.
    pub limit: Duration,
    /// Where the command runs.
    pub directory: PathBuf,
    /// What the command finds in its environment.
    pub env: Vec<(String, String)>,
}

/// Where a guest's standard output and error go while it runs.
pub struct Sinks {
    /// Standard output.
    pub out: Box<dyn Write + Send>,
    /// Standard error.
    pub err: Box<dyn Write + Send>,
}

/// Why guests cannot be started here.
pub fn missing() -> Option<&'static str> {
    let started = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status();
    if Path::new("/run/guest/report").is_file() {
        Some("this is a guest itself")
    } else if !nix::unistd::geteuid().is_root() {
        Some("sharing / takes root")
    } else if !started.is_ok_and(|status| status.success()) {
        Some("qemu-system-x86_64 is not installed")
    } else if share::virtiofsd().is_none() {
        Some("virtiofsd is not installed")
    } else if Kernel::ALL.iter().any(|kernel| Kit::find(*kernel).is_none()) {
        Some(
            "a kernel is missing or its kit is out of date: cargo run -p cgroupd-tests --bin guest -- kits",
        )
    } else {
        None
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The command's exit status, or why there is none.
    pub status: Result<i32, Failure>,
    /// What it took.
    pub cost: Cost,
}

/// Why a guest has no exit status.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It had to be ended.
    #[error("the guest did not end within {} s{}", .limit.as_secs(), tail(.console))]
    Hang {
        /// How long it was let run.
        limit: Duration,
        /// The kernel's messages.
        console: String,
    },
    /// It ended, and did not say how the command did.
    #[error("the guest failed: {said}{}", tail(.console))]
    Broken {
        /// What init, QEMU or virtiofsd said.
        said: String,
        /// The kernel's messages.
        console: String,
    },
}

impl Guest {
    /// A guest of 512 MiB, two processors and a disk of 64 MiB, for one minute. 6.12 has one
    /// processor: with two the emulator has been seen to run code that the other had half patched.
    pub fn new(mode: Mode, kernel: Kernel) -> Self {
        let processors = if kernel == Kernel::V6_12 { 1 } else { 2 };
        let (memory, disk) = (512, 64);
        let (limit, directory) = (Duration::from_secs(60), PathBuf::from("/"));
        Self { mode, kernel, memory, processors, disk, limit, directory, env: Vec::new() }
    }

    /// Runs a command in it, from the start of the machine to its end.
    ///
    /// # Errors
    /// The guest cannot be started: no kit, no QEMU, no virtiofsd, not root.
    pub fn run(&self, command: &[String], sinks: Sinks) -> io::Result<Ended> {
        let begin = Instant::now();
        let kit = Kit::find(self.kernel).ok_or_else(|| {
            io::Error::other(format!(
                "no kit for kernel {}, or an old one: run `guest kits`",
                self.kernel
            ))
        })?;
        let initramfs = memory_file("initramfs", &self.initramfs(&kit, command)?)?;
        let disks = [("scratch", self.disk), ("temporary", TEMPORARY)];
        let disks = disks.map(|(name, size)| Ok((name, disk(name, size)?)));
        let disks: Vec<(&str, File)> = disks.into_iter().collect::<io::Result<_>>()?;
        let (served, connection) = share::serve(&[share::workspace(), share::target()])?;
        let mut ports = Ports::new(sinks)?;
        let mut qemu = peer::tied(QEMU);
        self.machine(&mut qemu);
        qemu.arg("-kernel").arg(kit.kernel());
        qemu.arg("-initrd").arg(through_proc(initramfs.as_raw_fd()));
        ports.connect(&mut qemu);
        disks.iter().for_each(|(name, file)| connect_disk(&mut qemu, name, file));
        self.connect_share(&mut qemu, connection);
        let qemu = Owned(qemu.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
        let in_time = qemu.ends_before(begin + self.limit)?;
        self.conclude(begin, in_time, ports, [qemu, served])
    }

    fn initramfs(&self, kit: &Kit, command: &[String]) -> io::Result<Vec<u8>> {
        let directory = self.directory.to_string_lossy();
        let job = script::archive(self.mode, &directory, &self.env, command);
        Ok([kit.initramfs()?, job].concat())
    }

    /// A PC, not a microvm: that has no timer to fall back on when calibration fails on a busy
    /// machine. `no_timer_check`: the kernel's own test of the timer fails then too.
    fn machine(&self, qemu: &mut Command) {
        qemu.args(["-M", "pc,usb=off,vmport=off,smbus=off,i8042=off"]).args(accelerator());
        qemu.args(["-smp", &self.processors.to_string(), "-m", &self.memory.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        let kernel = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t no_timer_check \
                      cryptomgr.notests psi=1";
        qemu.args(["-append", &format!("{kernel} {}", self.mode.kernel_arguments())]);
    }

    /// What virtiofsd serves needs memory that it can see.
    fn connect_share(&self, qemu: &mut Command, connection: OwnedFd) {
        let memory = format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory);
        qemu.args(["-object", &memory, "-machine", "memory-backend=memory"]);
        qemu.args(["-chardev", "socket,id=share,fd=0"]).stdin(connection);
        qemu.args(["-device", "vhost-user-fs-pci,chardev=share,tag=share"]);
    }

    fn conclude(
        &self,
        begin: Instant,
        in_time: bool,
        ports: Ports,
        processes: [Owned; 2],
    ) -> io::Result<Ended> {
        let (mut said, mut cpu) = (String::new(), Duration::ZERO);
        for mut process in processes {
            let stderr = process.0.stderr.take();
            cpu += process.end()?.1;
            said.push_str(&read_all(stderr));
        }
        let (status, console) = ports.finish()?;
        let exit = status.lines().find_map(|line| line.strip_prefix("exit ")?.parse().ok());
        let status = match (exit, in_time) {
            (Some(exit), _) => Ok(exit),
            (None, false) => Err(Failure::Hang { limit: self.limit, console }),
            (None, true) => Err(Failure::Broken { said: status + &said, console }),
        };
        Ok(Ended { status, cost: Cost { wall: begin.elapsed(), cpu } })
    }
}

/// Hardware's own virtualization, not a `/dev/kvm` that something else provides: a kernel that
/// does not know of that is slow in it, and dies. Elsewhere translation, which is slow too.
fn accelerator() -> [&'static str; 4] {
    let hardware = ["kvm_intel", "kvm_amd"].map(|module| Path::new("/sys/module").join(module));
    let usable = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    match usable && hardware.iter().any(|module| module.is_dir()) {
        true => ["-accel", "kvm", "-cpu", "host"],
        false => ["-accel", "tcg,thread=multi", "-cpu", "max"],
    }
}

fn disk(name: &str, size: u32) -> io::Result<File> {
    let file = memory_file(name, &[])?;
    file.set_len(u64::from(size) << 20)?;
    Ok(file)
}

fn connect_disk(qemu: &mut Command, name: &str, disk: &File) {
    let file = through_proc(disk.as_raw_fd());
    qemu.args(["-drive", &format!("if=none,id={name},file={file},format=raw,cache=unsafe")]);
    qemu.args(["-device", &format!("virtio-blk-pci,drive={name},serial={name}")]);
}

/// A descriptor of ours as a path for a child, which need not inherit it.
fn through_proc(descriptor: RawFd) -> String {
    format!("/proc/{}/fd/{descriptor}", std::process::id())
}

fn memory_file(name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}

/// The streams out of a guest.
struct Ports {
    streams: Vec<Stream>,
}

struct Stream {
    name: &'static str,
    /// Kept until the guest has ended: its end is then the stream's end.
    writer: PipeWriter,
    reader: JoinHandle<io::Result<Vec<u8>>>,
}

impl Ports {
    fn new(sinks: Sinks) -> io::Result<Self> {
        let kept = |name| Stream::new(name, None);
        let streams = [
            Stream::new("out", Some(sinks.out))?,
            Stream::new("err", Some(sinks.err))?,
            kept("status")?,
            kept("console")?,
        ];
        Ok(Self { streams: streams.into() })
    }

    /// `ioeventfd=off`: what the guest writes has arrived when its write returns, so nothing is
    /// lost at the reset after its last line.
    fn connect(&mut self, qemu: &mut Command) {
        qemu.args(["-device", "virtio-serial-pci,ioeventfd=off"]);
        for stream in &self.streams {
            let (name, path) = (stream.name, through_proc(stream.writer.as_raw_fd()));
            qemu.args(["-chardev", &format!("file,id={name},path={path}")]);
            match name {
                "console" => qemu.args(["-serial", "chardev:console"]),
                _ => qemu.args(["-device", &format!("virtserialport,chardev={name},name={name}")]),
            };
        }
    }

    /// What came through the status port and from the kernel.
    fn finish(self) -> io::Result<(String, String)> {
        let mut texts = Vec::new();
        for stream in self.streams {
            drop(stream.writer);
            let bytes = stream.reader.join().map_err(|_| io::Error::other("a reader died"))??;
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let console = texts.pop().unwrap_or_default();
        Ok((texts.pop().unwrap_or_default(), console))
    }
}

impl Stream {
    fn new(name: &'static str, sink: Option<Box<dyn Write + Send>>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let reader = thread::spawn(move || match sink {
            Some(sink) => copy(reader, sink).map(|()| Vec::new()),
            None => keep(reader),
        });
        Ok(Self { name, writer, reader })
    }
}

fn copy(mut from: PipeReader, mut to: Box<dyn Write + Send>) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.flush()
}

fn keep(mut from: PipeReader) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map(|_| bytes)
}

fn read_all(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = stderr {
        // What is not text is of no use in a message.
        let _ = stderr.read_to_string(&mut text);
    }
    text
}

/// The end of the kernel's messages, if there are any.
fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    let end = &lines[lines.len().saturating_sub(25)..];
    if end.is_empty() { String::new() } else { format!("; its console:\n{}", end.join("\n")) }
}

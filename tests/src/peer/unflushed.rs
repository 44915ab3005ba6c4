//! Descriptors of a file whose file system never answers what closing one asks (FLUSH): whoever
//! closes one waits, without a signal ending that, until the file system is gone. A process of some
//! user's sends them to the daemon, and nobody else here ever has one: even a process that is about
//! to start another program would wait.
//!
//! The file system is one file, served by a process of its own in a mount namespace of its own.
//! (include/uapi/linux/fuse.h)

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use cgroupd_proto::{INTERFACE, OBJECT_PATH};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use zbus::Message;

use super::channel::Channel;
use super::{SELF, SENDER, UNFLUSHED};

/// The file system, and who sends its file. Both go when this is dropped.
#[derive(Debug)]
pub struct Unflushed {
    server: Child,
    sender: Option<Child>,
}

impl Unflushed {
    /// A user who sends such descriptors to a daemon's socket when told; `place` is a file that is
    /// mounted over, for the server alone.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn start(place: &Path, uid: u32, socket: &Path) -> Self {
        File::create(place).expect("a place of our own");
        let (channel, end) = Channel::pair().expect("a pair of sockets");
        let server = Command::new(SELF).arg(UNFLUSHED).arg(place).stdin(end).spawn();
        let mut unflushed = Self { server: server.expect("ourselves"), sender: None };
        channel.receive().expect("a socket").expect("it mounts");
        let root = format!("/proc/{}/root", unflushed.server.id());
        let file = Path::new(&root).join(place.strip_prefix("/").expect("absolute"));
        let mut sender = Command::new(SELF);
        sender.arg(SENDER).arg(file).arg(uid.to_string()).arg(socket);
        sender.stdin(Stdio::piped()).stdout(Stdio::piped());
        unflushed.sender = Some(sender.spawn().expect("ourselves"));
        unflushed
    }

    /// Has one sent in every way, each on a connection of its own, which is then left.
    ///
    /// # Panics
    /// When the daemon takes no connection.
    pub fn send(&mut self) {
        let sender = self.sender.as_mut().expect("not dropped");
        let stdin = sender.stdin.as_mut().expect("piped");
        stdin.write_all(b"s").expect("it listens");
        let mut done = [0];
        let stdout = sender.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut done).expect("it sends");
    }

    /// Ends the file system: whoever waits for it waits no more. Then the sender can end.
    pub fn end(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if let Some(mut sender) = self.sender.take() {
            let _ = sender.kill();
            let _ = sender.wait();
        }
    }
}

impl Drop for Unflushed {
    fn drop(&mut self) {
        self.end();
    }
}

/// The sender's process.
pub(super) fn run_sender() -> ExitCode {
    match send_when_told() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("a sender of descriptors: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send_when_told() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [file, uid, socket] = &arguments[..] else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let file = File::open(file)?;
    let uid = uid.parse().map_err(io::Error::other)?;
    setgroups(&[])?;
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    super::agent::stay_tied();
    let mut told = [0];
    while io::stdin().read(&mut told)? == 1 {
        send_everywhere(Path::new(socket), &file)?;
        io::stdout().write_all(b"d")?;
        io::stdout().flush()?;
    }
    Ok(())
}

const NEGOTIATED: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
const PLAIN: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

fn send_everywhere(socket: &Path, file: &File) -> io::Result<()> {
    let none = MsgFlags::empty();
    let connect = || UnixStream::connect(socket);
    // Before anything is said; with the handshake; after it, negotiated or not.
    send(&connect()?, b"\0", file, none)?;
    send(&connect()?, NEGOTIATED, file, none)?;
    let call = Message::method_call(OBJECT_PATH, "WhoAmI").interface(INTERFACE);
    let call = call.build(&()).map_err(io::Error::other)?;
    for handshake in [NEGOTIATED, PLAIN] {
        let mut stream = connect()?;
        let is_answered = stream.write_all(handshake).and_then(|()| stream.read(&mut [0; 64]));
        // The daemon may have hung up on its user by now.
        let _ = is_answered;
        send(&stream, call.data(), file, none)?;
    }
    // With an urgent byte, and behind what ends the connection.
    send(&connect()?, b"\0", file, MsgFlags::MSG_OOB)?;
    let mut stream = connect()?;
    let _ = stream.write_all(b"\n");
    send(&stream, b"x", file, none)
}

/// Sends bytes with a descriptor, unless the daemon has hung up.
fn send(stream: &UnixStream, bytes: &[u8], file: &File, flags: MsgFlags) -> io::Result<()> {
    let rights = [file.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&rights)];
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    match sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, flags, None) {
        // Kernels without urgent bytes on these sockets say EOPNOTSUPP.
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET | Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The server's process.
pub(super) fn run() -> ExitCode {
    let Some(place) = std::env::args_os().nth(2) else { return ExitCode::FAILURE };
    match serve(Path::new(&place)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("a file system of one file: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(place: &Path) -> io::Result<()> {
    super::agent::stay_tied();
    let device = mount_file(place)?;
    Channel::inherited()?.send("mounted", None)?;
    answer_all_but_flush(device)
}

fn mount_file(place: &Path) -> io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let fd = device.as_raw_fd();
    let options = format!("fd={fd},rootmode=100666,user_id=0,group_id=0,allow_other");
    mount(Some("none"), place, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(device)
}

/// `struct fuse_in_header`.
const HEADER: usize = 40;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
/// Those that want no answer: FORGET, RELEASE, INTERRUPT, BATCH_FORGET. A release is not waited for.
const SILENT: [u32; 4] = [2, 18, 36, 42];

fn answer_all_but_flush(mut device: File) -> io::Result<()> {
    let mut request = vec![0; 1 << 17];
    loop {
        let length = device.read(&mut request)?;
        let Some(header) = request[..length].first_chunk::<HEADER>() else { continue };
        let number = |at: usize| u32::from_ne_bytes(*header[at..].first_chunk().expect("inside"));
        let unique = u64::from_ne_bytes(*header[8..].first_chunk().expect("inside"));
        let (error, body) = match number(4) {
            FLUSH => continue,
            silent if SILENT.contains(&silent) => continue,
            INIT => (0, init()),
            GETATTR => (0, attributes()),
            OPEN => (0, vec![0; 16]),
            _ => (-libc::ENOSYS, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).expect("short");
        let mut answer = length.to_ne_bytes().to_vec();
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        device.write_all(&answer)?;
    }
}

/// `struct fuse_init_out`: version 7.31, no options, writes of a page.
fn init() -> Vec<u8> {
    let mut answer = vec![0; 64];
    for (at, word) in [(0, 7u32), (4, 31), (8, 1 << 17), (20, 4096)] {
        answer[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    answer
}

/// `struct fuse_attr_out`: an empty file of root's that everybody may open.
fn attributes() -> Vec<u8> {
    let mut answer = vec![0; 104];
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The inode's number; when it was changed; mode and links.
    answer[16..24].copy_from_slice(&1u64.to_ne_bytes());
    answer[48..56].copy_from_slice(&seconds.to_ne_bytes());
    for (at, word) in [(76, 0o100_666u32), (80, 1)] {
        answer[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    answer
}

//! Detached cgroup mounts and file handles: how the root of a cgroup namespace is found.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// `fsopen(2)`, close-on-exec.
///
/// # Errors
/// ENODEV for an unknown file system, EPERM without CAP_SYS_ADMIN.
pub fn fsopen(kind: &CStr) -> nix::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_long = 1;
    // SAFETY: a valid C string and a flag.
    Ok(owned(check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?))
}

/// `fsconfig(2)`: sets the flag `key`, or, with a value, the string option `key`.
///
/// # Errors
/// EINVAL for an unknown option.
pub fn fsconfig_set(context: impl AsFd, key: &CStr, value: Option<&CStr>) -> nix::Result<()> {
    const SET_FLAG: libc::c_long = 0;
    const SET_STRING: libc::c_long = 1;
    let fd = context.as_fd().as_raw_fd();
    let command = if value.is_some() { SET_STRING } else { SET_FLAG };
    let text = value.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: valid C strings, or null where the command takes none.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key.as_ptr(), text, 0) })
        .map(drop)
}

/// `fsconfig(2)` with `FSCONFIG_CMD_CREATE`, then `fsmount(2)`: a detached mount.
///
/// # Errors
/// EBUSY when a v1 hierarchy with other controllers already has one of them.
pub fn fsmount(context: impl AsFd) -> nix::Result<OwnedFd> {
    const CMD_CREATE: libc::c_long = 6;
    const FSMOUNT_CLOEXEC: libc::c_long = 1;
    let fd = context.as_fd().as_raw_fd();
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: plain integers and the nulls that the command asks for.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, CMD_CREATE, none, none, 0) })?;
    // SAFETY: plain integers.
    Ok(owned(check(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, 0) })?))
}

/// A file handle, with room for the largest one the kernel makes.
#[repr(C)]
pub struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

/// `name_to_handle_at(2)` of the directory `dir` itself.
///
/// # Errors
/// EOPNOTSUPP when the file system has no handles.
pub fn handle_of(dir: impl AsFd) -> nix::Result<FileHandle> {
    let mut handle = FileHandle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: the header says how much room there is, and the path is an empty C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    })?;
    Ok(handle)
}

/// `open_by_handle_at(2)` on the mount `mount` lies in, `O_PATH` on a directory. `mount` must
/// not be an `O_PATH` descriptor.
///
/// # Errors
/// ESTALE when the directory is gone, EPERM without CAP_DAC_READ_SEARCH.
pub fn open_handle(mount: impl AsFd, handle: &FileHandle) -> nix::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let handle: *const FileHandle = handle;
    // SAFETY: the handle was filled by the kernel and is only read.
    Ok(owned(check(unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, mount.as_fd().as_raw_fd(), handle, flags)
    })?))
}

/// `FILEID_KERNFS` in `include/linux/exportfs.h`: the 64-bit id and nothing else.
pub fn handle_of_cgroup_id(id: u64) -> FileHandle {
    const FILEID_KERNFS: i32 = 0xfe;
    let mut handle = FileHandle { bytes: 8, kind: FILEID_KERNFS, data: [0; 128] };
    handle.data[..8].copy_from_slice(&id.to_ne_bytes());
    handle
}

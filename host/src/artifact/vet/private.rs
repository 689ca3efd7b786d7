//! Directories and files that only the host's user and root may change.
//!
//! What lies in the state directory is mapped as code and believed as the host's memory, so whoever can change it is the
//! host. It is checked when a host takes the directory over, with every directory above it: an owner of one of those, or
//! somebody who can write there, can put another in its place. On systems without owners and modes only links are refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Something of the state directory that somebody else than the host's user could change.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}; {mend}")]
pub struct Unsafe {
    /// The directory or file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// How to mend it.
    pub mend: String,
}

/// Why a private directory or file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateError {
    /// Others could change it.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Creates a directory for the host's user only, where it is not there yet, and checks it and every directory above it.
pub(crate) fn take_directory(path: &Path) -> Result<(), PrivateError> {
    let absolute = std::path::absolute(path)?;
    // What is there must be safe before anything is created in it.
    check_above(&absolute)?;
    create_private(&absolute)?;
    check_above(&absolute)?;
    // A link to a directory is fine, where nobody else can change it: the link has been checked with what is above.
    check(&absolute.canonicalize()?, Place::Own)?;
    Ok(())
}

/// Creates a directory of the host's in a directory that has been taken, and checks it. A link in its place is refused.
pub(crate) fn own_directory(path: &Path) -> io::Result<()> {
    create_private(path)?;
    check_private(path).map_err(|e| io::Error::new(io::ErrorKind::PermissionDenied, e))
}

/// Checks a file or directory of the host's. A link in its place is refused; what is not there is fine.
pub(crate) fn check_private(path: &Path) -> Result<(), Unsafe> {
    refuse_link(path)?;
    check(path, Place::Own)
}

/// Creates a directory for the host's user only; one that exists stays as it is.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Refuses a symbolic link: what it leads to is not the host's. What is not there is fine.
fn refuse_link(path: &Path) -> Result<(), Unsafe> {
    let Ok(target) = fs::read_link(path) else { return Ok(()) };
    Err(Unsafe {
        path: path.to_owned(),
        why: format!("is a symbolic link to {}, where the host keeps a file of its own", target.display()),
        mend: format!("remove it with `rm {}`, or name another directory with --state-dir", path.display()),
    })
}

/// What a file or directory is to the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its own.
    Own,
    /// A directory above, or a link on the way.
    Above,
}

/// Checks every directory above `path`, and every link on the way with what is above its target.
fn check_above(path: &Path) -> Result<(), PrivateError> {
    // As many links as the system itself follows.
    let mut links_left = 40;
    let mut ways = vec![path.to_owned()];
    while let Some(way) = ways.pop() {
        let mut prefix = PathBuf::new();
        for part in way.components() {
            prefix.push(part);
            let Ok(target) = fs::read_link(&prefix) else { continue };
            check(&prefix, Place::Above)?;
            if links_left == 0 {
                return Err(io::Error::other("symbolic links lead in a circle").into());
            }
            links_left -= 1;
            ways.push(prefix.parent().unwrap_or(Path::new("/")).join(target));
        }
        for above in way.ancestors().skip(1).filter(|above| above.is_dir()) {
            check(&above.canonicalize()?, Place::Above)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_: &Path, _: Place) -> Result<(), Unsafe> {
    Ok(())
}

#[cfg(unix)]
fn check(path: &Path, place: Place) -> Result<(), Unsafe> {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let (me, owner, mode) = (rustix::process::geteuid().as_raw(), found.uid(), found.mode());
    let refused = |why: String, mend: String| {
        let relation = match place {
            Place::Own => "",
            Place::Above => " and is above the state directory",
        };
        let mend = format!("{mend}, or name another directory with --state-dir");
        Err(Unsafe { path: path.to_owned(), why: format!("{why}{relation}"), mend })
    };
    let trusted = owner == me || owner == 0 || (place == Place::Above && groups::is_outside_of_namespace(owner));
    if !trusted {
        let why = format!("belongs to user {owner}, and the host runs as user {me}");
        return refused(why, format!("give it to the host's user with `chown {me} {}`", path.display()));
    }
    // A link has no mode of its own. In a sticky directory nobody renames what is somebody else's.
    let sticky = place == Place::Above && mode & 0o1000 != 0;
    if found.is_symlink() || sticky {
        return Ok(());
    }
    let bits = mode & 0o7777;
    if mode & 0o1002 == 0o1002 {
        let why = format!("everybody may create files in it (mode {bits:04o})");
        return refused(why, format!("use a directory in it, such as {}", path.join("policy-host").display()));
    }
    if mode & 0o002 != 0 {
        let why = format!("mode {bits:04o} lets everybody write to it");
        return refused(why, format!("take that away with `chmod go-w {}`", path.display()));
    }
    if mode & 0o020 != 0 && !groups::is_private(found.gid(), me, path) {
        let why = format!("mode {bits:04o} lets group {} write to it", found.gid());
        return refused(why, format!("take that away with `chmod go-w {}`", path.display()));
    }
    Ok(())
}

/// Who else is in a group.
#[cfg(unix)]
mod groups {
    use std::fs;
    use std::path::Path;

    /// Whether nobody but the host's user (and root) writes by the group's bits: root's group, or the group of the user's
    /// own that most systems make with a user, which has its number or its name and nobody else in it.
    pub(super) fn is_private(group: u32, user: u32, path: &Path) -> bool {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        !has_access_list(path)
            && (group == 0 || is_of_user_alone(group, user, &read("/etc/passwd"), &read("/etc/group")))
    }

    fn is_of_user_alone(group: u32, user: u32, passwd: &str, groups: &str) -> bool {
        let number = |field: Option<&str>| field.and_then(|f| f.parse::<u32>().ok());
        let mut name = None;
        for fields in passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()) {
            let (uid, gid) = (number(fields.get(2).copied()), number(fields.get(3).copied()));
            if uid == Some(user) {
                name = Some(fields[0]);
            } else if gid == Some(group) {
                return false;
            }
        }
        let entry = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mut entry = entry.filter(|fields| number(fields.get(2).copied()) == Some(group));
        // A group that stands in no file (a directory service, a container) is judged by its number.
        let Some(fields) = entry.next() else { return group == user };
        let members = fields.get(3).copied().unwrap_or_default();
        let alone = members.split(',').map(str::trim).all(|member| member.is_empty() || Some(member) == name);
        alone && (group == user || Some(fields[0]) == name)
    }

    /// Whether an access control list says more than the mode does: with one, the group's bits stand for all it allows.
    #[cfg(target_os = "linux")]
    fn has_access_list(path: &Path) -> bool {
        rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut [0_u8; 0]).is_ok_and(|length| length > 0)
    }

    #[cfg(not(target_os = "linux"))]
    fn has_access_list(_: &Path) -> bool {
        false
    }

    /// In a user namespace, users outside of it all look like one that nobody inside can be: the container's root
    /// directory may look so. Elsewhere that number is a user like any other.
    #[cfg(target_os = "linux")]
    pub(super) fn is_outside_of_namespace(user: u32) -> bool {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let map = read("/proc/self/uid_map");
        let mapped = |line: &str| {
            let fields: Vec<u64> = line.split_whitespace().filter_map(|f| f.parse().ok()).collect();
            matches!(fields[..], [from, _, count] if (from..from.saturating_add(count)).contains(&user.into()))
        };
        read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(user) && !map.is_empty() && !map.lines().any(mapped)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_outside_of_namespace(_: u32) -> bool {
        false
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_private_group_has_nobody_else_in_it() {
            let passwd =
                "root:x:0:0::/:\nann:x:1000:1000::/:\nbob:x:1001:1005::/:\ncat:x:1002:100::/:\ndan:x:1003:1000::/:";
            let groups = "root:x:0:\nann:x:1000:\nbob:x:1005:bob\nusers:x:100:\ncat:x:1002:ann,cat\neve:x:1009:";
            let private = |group, user| is_of_user_alone(group, user, passwd, groups);
            assert!(private(1005, 1001), "bob's, by its name");
            assert!(!private(1000, 1000), "dan has ann's as his own");
            assert!(!private(100, 1002), "a common group");
            assert!(!private(1002, 1002), "ann is in cat's");
            assert!(!private(1009, 1001), "somebody else's");
            assert!(private(4711, 4711), "in no file, by its number");
            assert!(!private(4711, 4712));
        }
    }
}

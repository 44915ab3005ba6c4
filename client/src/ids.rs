//! Numbers and people on the command line: exact decimals, or names of the local files.
//!
//! `/etc/passwd` and `/etc/group` are read as the plain files they are: a static binary has no
//! name service, and the ids are those of the caller's own user namespace.

use std::fs;

use crate::exit::{Exit, Failure};

/// The text of `/etc/passwd` and `/etc/group`.
pub(crate) struct People {
    passwd: String,
    group: String,
}

impl People {
    /// Those of this machine or container. A missing file knows nobody.
    pub(crate) fn local() -> Self {
        let read = |path| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
        Self {
            passwd: read("/etc/passwd").unwrap_or_default(),
            group: read("/etc/group").unwrap_or_default(),
        }
    }

    /// The ids of `USER` or `USER:GROUP`. A user alone stands for its own group as well.
    pub(crate) fn resolve(&self, owner: &str) -> Result<(u32, u32), Failure> {
        let (user, group) = match owner.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (owner, None),
        };
        let entry = entry(&self.passwd, user);
        let uid = id("user", user, entry.as_ref().map(|fields| fields[2]))?;
        match group {
            Some(name) => {
                let known = self::entry(&self.group, name);
                Ok((uid, id("group", name, known.as_ref().map(|fields| fields[2]))?))
            }
            None => Ok((uid, self.own_group(uid)?)),
        }
    }

    fn own_group(&self, uid: u32) -> Result<u32, Failure> {
        let uid = uid.to_string();
        let mut entries = self.passwd.lines().filter_map(fields);
        let own = entries.find(|fields| fields[2] == uid).and_then(|fields| exact(fields.get(3)?));
        own.ok_or_else(|| {
            let text = format!("the user {uid} has no group in /etc/passwd");
            Failure::new(Exit::BadValue, text).hint(format!("say which: {uid}:GROUP"))
        })
    }
}

fn fields(line: &str) -> Option<Vec<&str>> {
    let fields: Vec<&str> = line.split(':').collect();
    // `+` and `-` are not names but instructions to a name service.
    (fields.len() >= 3 && !line.starts_with(['+', '-', '#'])).then_some(fields)
}

fn entry<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    file.lines().filter_map(fields).find(|fields| fields[0] == name)
}

/// The id `text` stands for: what the local files know, else itself when it is an exact decimal.
fn id(kind: &str, text: &str, known: Option<&str>) -> Result<u32, Failure> {
    // All ones is how the kernel writes "no id".
    let id = known.and_then(exact).or_else(|| exact(text)).filter(|id| *id != u32::MAX);
    id.ok_or_else(|| {
        Failure::new(Exit::BadValue, format!("there is no {kind} {text:?}")).hint(format!(
            "a name of /etc/{}, or a decimal number below 4294967295",
            if kind == "user" { "passwd" } else { "group" }
        ))
    })
}

/// A decimal number exactly as it is printed: no sign, no leading zero, no base.
pub(crate) fn exact(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| number.to_string() == text)
}

/// The permission bits of an octal mode, `755` or `0755`.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let octal = (1..=5).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> People {
        People {
            passwd: "# users\n\
                     root:x:0:0:root:/root:/bin/sh\n\
                     +nis:x:7:7::/:\n\
                     alice:x:1000:1001:Alice:/home/alice:/bin/sh\n\
                     broken\n\
                     odd:x:01:1::/:\n"
                .to_owned(),
            group: "root:x:0:\nwheel:x:10:alice\nalice:x:1001:\n".to_owned(),
        }
    }

    #[test]
    fn names_and_numbers() {
        for (owner, ids) in [
            ("root", (0, 0)),
            ("alice", (1000, 1001)),
            ("alice:", (1000, 1001)),
            ("alice:wheel", (1000, 10)),
            ("1000", (1000, 1001)),
            ("4242:wheel", (4242, 10)),
            ("1:1", (1, 1)),
            ("0:4294967294", (0, 4_294_967_294)),
        ] {
            assert_eq!(people().resolve(owner), Ok(ids), "{owner:?}");
        }
    }

    #[test]
    fn case_36_numbers_are_exact_or_refused() {
        assert_eq!(people().resolve("1:1"), Ok((1, 1)));
        for text in
            ["01", "0x1", "4294967295", "4294967296", "-1", "+1", "", " 1", "1 ", "1.0", "1_0", "١"]
        {
            for owner in [format!("{text}:1"), format!("1:{text} "), format!("1:{text}x")] {
                let failure = people().resolve(&owner).unwrap_err();
                assert_eq!(failure.exit, Exit::BadValue, "{owner:?}");
            }
        }
        for group in ["01", "0x1", "4294967295", "4294967296", "-1"] {
            assert!(people().resolve(&format!("1:{group}")).is_err(), "{group:?}");
        }
    }

    #[test]
    fn who_is_not_in_the_files_is_refused_by_name() {
        for (owner, said) in [
            ("bob", "there is no user \"bob\""),
            ("alice:bobs", "there is no group \"bobs\""),
            ("+nis:0", "there is no user \"+nis\""),
            ("broken:0", "there is no user \"broken\""),
            ("odd:0", "there is no user \"odd\""),
            ("4242", "the user 4242 has no group in /etc/passwd"),
        ] {
            let failure = people().resolve(owner).unwrap_err();
            assert_eq!(failure.text, said);
            assert!(failure.hint.is_some());
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, bits) in [("755", 0o755), ("0755", 0o755), ("0", 0), ("07777", 0o7777)] {
            assert_eq!(mode(text), Some(bits), "{text:?}");
        }
        for text in ["", "8", "0o755", "u+x", "17777", "-755", "+755", "000755"] {
            assert_eq!(mode(text), None, "{text:?}");
        }
    }
}

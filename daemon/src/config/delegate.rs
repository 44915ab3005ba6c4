//! `[[delegate]]`: who is given a cgroup of its own, and what it is like.

use std::collections::{BTreeMap, HashMap};

use cgroupd_proto::limit::LimitSet;
use cgroupd_proto::{CONTROLLERS, CgroupPath, check_new_name, user_home};
use serde::{Deserialize, Serialize};

use super::check::{self, MOST_CGROUPS};
use crate::cgroup::names_in;

/// Stand for the user in a path.
const UID: &str = "{uid}";
const NAME: &str = "{user}";

/// One `[[delegate]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Delegate {
    /// Users: a name, a uid, or `1000-59999`.
    pub users: Vec<String>,
    /// Groups, by name or number: whoever has one of them, as the kernel says, is meant.
    pub groups: Vec<String>,
    /// Its path from the managed root; `{uid}` and `{user}` stand for the user.
    pub path: String,
    /// The controllers it has; empty means all.
    pub controllers: Vec<String>,
    /// Its limits, which its owner cannot change.
    pub limits: BTreeMap<String, String>,
    /// Cgroups that the user may leave for it although they are not above it, as cgroup v2 shows
    /// them in `/proc/PID/cgroup`; a `*` stands for one name.
    pub enter_from: Vec<String>,
    /// The most cgroups of the user in each hierarchy; 0 is what `[quota]` says.
    pub cgroups: usize,
}

impl Default for Delegate {
    fn default() -> Self {
        let [users, _] = user_home(0);
        Self {
            users: Vec::new(),
            groups: Vec::new(),
            path: format!("/{users}/{UID}"),
            controllers: Vec::new(),
            limits: BTreeMap::new(),
            enter_from: Vec::new(),
            cgroups: 0,
        }
    }
}

impl Delegate {
    /// Whether the user is named, by number or name. The name is asked for where that depends on it:
    /// a range means those whom the host knows, and not every number of some container.
    ///
    /// # Errors
    /// What `name` answers.
    pub fn names_user<E>(
        &self,
        uid: u32,
        name: impl Fn() -> Result<Option<String>, E>,
    ) -> Result<bool, E> {
        for user in &self.users {
            let is_named = match range(user) {
                Some((first, last)) if first == last => uid == first,
                Some((first, last)) => (first..=last).contains(&uid) && name()?.is_some(),
                None => name()?.as_ref() == Some(user),
            };
            if is_named {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the path has the user's name in it.
    pub fn needs_name(&self) -> bool {
        self.path.contains(NAME)
    }

    /// The users that are named one by one: a name, or a uid.
    pub fn single_users(&self) -> impl Iterator<Item = Result<u32, &str>> {
        self.users.iter().filter_map(|user| match range(user) {
            Some((first, last)) => (first == last).then_some(Ok(first)),
            None => Some(Err(user.as_str())),
        })
    }

    /// The path for one user.
    ///
    /// # Errors
    /// A name that cannot be a part of a path.
    pub fn path_of(&self, uid: u32, name: Option<&str>) -> Result<CgroupPath, String> {
        let mut text = self.path.replace(UID, &uid.to_string());
        if self.needs_name() {
            let name = name.ok_or_else(|| format!("the user {uid} has no name"))?;
            if matches!(name, "" | "." | "..")
                || name.contains('/')
                || check_new_name(name).is_err()
            {
                return Err(format!("the name {name:?} of the user {uid} can be in no path"));
            }
            text = text.replace(NAME, name);
        }
        let path = CgroupPath::parse(&text).map_err(|error| error.to_string())?;
        path.components()
            .iter()
            .try_for_each(|name| check_new_name(name))
            .map_err(|error| format!("{text}: {error}"))?;
        Ok(path)
    }

    /// Whether a process at this path may leave it.
    pub fn lets_leave(&self, from: &[String]) -> bool {
        let fits = |pattern: &String| {
            let parts = names_in(pattern);
            let same =
                |(part, name): (&String, &String)| part == name || part == "*" && name != "..";
            parts.len() == from.len() && parts.iter().zip(from).all(same)
        };
        self.enter_from.iter().any(fits)
    }

    /// What is wrong with the groups that it names, as the user database says now.
    pub(super) fn unknown_group(&self) -> Option<String> {
        self.groups.iter().find_map(|group| check::group(group))
    }

    /// Everything that is wrong with it, each with its key; that it is for nobody has none.
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let limits: HashMap<String, String> = self.limits.clone().into_iter().collect();
        let nobody = self.users.is_empty() && self.groups.is_empty();
        let found = [
            ("", nobody.then(|| "it names neither `users` nor `groups`".to_owned())),
            ("users", self.users.iter().find_map(|user| wrong_user(user))),
            ("groups", self.groups.iter().find_map(|group| wrong_group(group))),
            ("path", self.wrong_path()),
            ("controllers", self.controllers.iter().find_map(|name| wrong_controller(name))),
            ("limits", LimitSet::parse(&limits).err().map(|error| error.to_string())),
            (
                "cgroups",
                (self.cgroups > MOST_CGROUPS)
                    .then(|| format!("at most {MOST_CGROUPS} are possible")),
            ),
            ("enter-from", self.enter_from.iter().find_map(|pattern| wrong_pattern(pattern))),
        ];
        found.into_iter().filter_map(|(key, text)| text.map(|text| (key, text))).collect()
    }

    fn wrong_path(&self) -> Option<String> {
        let text = match self.path_of(1, Some("user")) {
            Err(text) => text,
            Ok(path) if !path.is_absolute() => format!("{:?} must start with /", self.path),
            Ok(_) if !self.path.contains(UID) && !self.needs_name() => {
                format!("{:?} is the same for all users; put {UID} or {NAME} into it", self.path)
            }
            Ok(_) => return None,
        };
        Some(text)
    }
}

/// Uids from one to another, both included.
fn range(user: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match user.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(user).map(|uid| (uid, uid)),
    }
}

fn wrong_user(user: &str) -> Option<String> {
    let text = match range(user) {
        Some((0, _)) => "root needs no delegation; start at 1".to_owned(),
        Some((first, last)) if first > last => "the first uid is above the last".to_owned(),
        None if user == "root" => "root needs no delegation".to_owned(),
        None if !looks_like_a_name(user) => {
            "it is neither a name, nor a uid, nor two of them with a - between".to_owned()
        }
        _ => return None,
    };
    Some(format!("{user:?}: {text}"))
}

/// Names of users begin with neither a digit nor a dash; a mistyped number is none.
fn looks_like_a_name(user: &str) -> bool {
    let first = user.bytes().next();
    first.is_some_and(|byte| !byte.is_ascii_digit() && byte != b'-')
        && !user.contains(|character: char| character.is_whitespace() || "/:".contains(character))
}

fn wrong_group(group: &str) -> Option<String> {
    group.is_empty().then(|| "\"\" is no group".to_owned())
}

fn wrong_controller(name: &str) -> Option<String> {
    let known = CONTROLLERS.contains(&name);
    (!known).then(|| format!("{name:?} is no controller of Linux"))
}

fn wrong_pattern(pattern: &str) -> Option<String> {
    let odd = |part: &str| part == ".." || part.contains('*') && part != "*";
    let wrong = !pattern.starts_with('/') || pattern.split('/').any(odd);
    wrong.then(|| format!("{pattern:?} is not the path of a cgroup: /a/b, or /a/* for any in /a"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(users: &[&str]) -> Delegate {
        Delegate {
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            ..Delegate::default()
        }
    }

    #[test]
    fn who_is_meant() {
        let rule = rule(&["alice", "7", "1000-1999", "a-b"]);
        assert_eq!(rule.mistakes(), []);
        for (uid, name, meant) in [
            (1, Some("alice"), true),
            (1, Some("alic"), false),
            (1, None, false),
            (7, None, true),
            (1000, None, false),
            (1999, Some("x"), true),
            (2000, Some("x"), false),
            (5, Some("a-b"), true),
        ] {
            let named = rule.names_user(uid, || Ok::<_, ()>(name.map(str::to_owned)));
            assert_eq!(named, Ok(meant), "{uid} {name:?}");
        }
        assert_eq!(rule.names_user(5, || Err(())), Err(()), "what is not known is no other rule's");
        assert_eq!(rule.names_user(7, || Err(())), Err(()), "a name comes before it");
        assert_eq!(rule.single_users().collect::<Vec<_>>(), [Err("alice"), Ok(7), Err("a-b")]);
    }

    #[test]
    fn hostile_names_stay_out_of_paths() {
        let rule = Delegate { path: "/people/{user}/{uid}".to_owned(), ..rule(&["7"]) };
        assert_eq!(rule.path_of(7, Some("al")).unwrap().to_string(), "/people/al/7");
        for name in ["..", ".", "a/b", "../../etc", "", "cgroup.procs", "a\nb", "x (deleted)"] {
            assert!(rule.path_of(7, Some(name)).is_err(), "{name:?}");
        }
        assert!(rule.path_of(7, None).is_err());
        let joined = Delegate { path: "/m{user}".to_owned(), ..rule };
        assert!(joined.path_of(7, Some("emory.max")).is_err(), "what comes of it is judged, too");
        assert!(joined.path_of(7, Some("x")).is_ok());
    }

    #[test]
    fn where_it_may_be_left() {
        let from = ["/openrc.sshd", "/sessions/*"].map(str::to_owned).to_vec();
        let rule = Delegate { enter_from: from, ..rule(&["7"]) };
        for (path, allowed) in [
            ("openrc.sshd", true),
            ("openrc.sshd/x", false),
            ("sessions", false),
            ("sessions/c1", true),
            ("sessions/c1/x", false),
            ("", false),
            ("sessions/..", false),
        ] {
            assert_eq!(rule.lets_leave(&names_in(path)), allowed, "{path}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let with = |change: &dyn Fn(&mut Delegate)| {
            let mut rule = rule(&["7"]);
            change(&mut rule);
            rule.mistakes()
                .into_iter()
                .map(|(key, text)| format!("`{key}`: {text}"))
                .collect::<String>()
        };
        for (text, part) in [
            (with(&|rule| rule.users.clear()), "neither `users` nor `groups`"),
            (with(&|rule| rule.users.push("0-5".into())), "start at 1"),
            (with(&|rule| rule.users.push("9-5".into())), "above the last"),
            (with(&|rule| rule.users.push("root".into())), "needs no delegation"),
            (with(&|rule| rule.groups.push(String::new())), "\"\" is no group"),
            (with(&|rule| rule.path = "/all".into()), "the same for all"),
            (with(&|rule| rule.path = "a/{uid}".into()), "must start with /"),
            (with(&|rule| rule.path = "/a/../{uid}".into()), "`path`"),
            (with(&|rule| rule.controllers.push("mem".into())), "\"mem\" is no controller"),
            (with(&|rule| drop(rule.limits.insert("memory.max".into(), "1X".into()))), "`limits`"),
            (with(&|rule| rule.enter_from.push("a".into())), "`enter-from`"),
            (with(&|rule| rule.enter_from.push("/a*".into())), "`enter-from`"),
            (with(&|rule| rule.users.push("1000-".into())), "neither a name"),
            (with(&|rule| rule.users.push("1000 - 2000".into())), "neither a name"),
            (with(&|rule| rule.users.push("1000-99999999999".into())), "neither a name"),
            (with(&|rule| rule.users.push(String::new())), "neither a name"),
        ] {
            assert!(text.contains(part), "{text:?} has no {part:?}");
        }
    }
}

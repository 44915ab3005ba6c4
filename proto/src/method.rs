//! The table of methods and properties. Dispatch, introspection and the test that calls every
//! method as nobody all read it.

/// An argument: its name and its D-Bus signature.
pub type Argument = (&'static str, &'static str);

/// A method of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The member's name.
    pub member: &'static str,
    /// What goes in, in order.
    pub input: &'static [Argument],
    /// What comes out, in order.
    pub output: &'static [Argument],
    /// The flags it understands; any other is InvalidArgument. `None`: it takes none at all.
    pub flags: Option<&'static [&'static str]>,
    /// Whether it can change anything.
    pub changes: bool,
}

/// A signal of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// The member's name.
    pub member: &'static str,
    /// What it carries, in order.
    pub arguments: &'static [Argument],
}

/// A constant property.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its D-Bus signature.
    pub signature: &'static str,
}

impl Method {
    /// The input's signature, as in a message header.
    pub fn signature(&self) -> String {
        self.input.iter().map(|(_, signature)| *signature).collect()
    }
}

/// Looks a method of [`crate::INTERFACE`] up by its member name.
pub fn find_method(member: &str) -> Option<&'static Method> {
    find(METHODS, member)
}

pub(crate) fn find(methods: &'static [Method], member: &str) -> Option<&'static Method> {
    methods.iter().find(|method| method.member == member)
}

const NO_FLAGS: Option<&[&str]> = Some(&[]);
const PATH: Argument = ("path", "s");
const FLAGS: Argument = ("flags", "as");

pub(crate) const fn change(
    member: &'static str,
    input: &'static [Argument],
    output: &'static [Argument],
    flags: Option<&'static [&'static str]>,
) -> Method {
    Method { member, input, output, flags, changes: true }
}

pub(crate) const fn read(
    member: &'static str,
    input: &'static [Argument],
    output: &'static [Argument],
    flags: Option<&'static [&'static str]>,
) -> Method {
    Method { member, input, output, flags, changes: false }
}

/// Every method of [`crate::INTERFACE`].
pub const METHODS: &[Method] = &[
    change(
        "Create",
        &[PATH, ("controllers", "as"), ("limits", "a{ss}"), ("pidfds", "ah"), FLAGS],
        &[PATH, ("controllers", "as"), ("created", "b")],
        Some(&["must-create", "caller", "when-empty", "no-evacuate"]),
    ),
    change(
        "Remove",
        &[PATH, FLAGS],
        &[("removed", "b")],
        Some(&["recursive", "kill", "when-empty"]),
    ),
    change("Attach", &[PATH, ("pidfds", "ah"), FLAGS], &[], Some(&["caller"])),
    change("AttachPids", &[PATH, ("pids", "au"), FLAGS], &[], Some(&["caller"])),
    change(
        "SetLimits",
        &[PATH, ("limits", "a{ss}"), FLAGS],
        &[("limits", "a{ss}")],
        Some(&["dry-run", "force", "no-evacuate"]),
    ),
    read("GetLimits", &[PATH, ("names", "as")], &[("limits", "a{ss}")], None),
    read("ReadFile", &[PATH, ("file", "s")], &[("content", "s")], None),
    change("WriteFile", &[PATH, ("file", "s"), ("value", "s"), FLAGS], &[], NO_FLAGS),
    read("ListFiles", &[PATH], &[("files", "a(sa{ss})")], None),
    read(
        "List",
        &[PATH, ("depth", "u"), ("after", "s"), ("limit", "u"), FLAGS],
        &[("cgroups", "a(sa{ss})"), ("next", "s")],
        Some(&["children"]),
    ),
    read("Processes", &[PATH, FLAGS], &[("pids", "au")], Some(&["recursive", "threads"])),
    read("CgroupOf", &[("pid", "u"), FLAGS], &[("cgroups", "a(ss)")], Some(&["caller"])),
    read("Stats", &[("paths", "as")], &[("cgroups", "a(sa{st})")], None),
    change("Freeze", &[PATH, FLAGS], &[], NO_FLAGS),
    change("Thaw", &[PATH, FLAGS], &[], NO_FLAGS),
    change("Kill", &[PATH, ("signal", "u"), FLAGS], &[("killed", "u")], NO_FLAGS),
    change("Chown", &[PATH, ("uid", "u"), ("gid", "u"), FLAGS], &[], Some(&["recursive"])),
    change(
        "Delegate",
        &[PATH, ("uid", "u"), ("gid", "u"), ("controllers", "as"), ("limits", "a{ss}"), FLAGS],
        &[PATH, ("changed", "a{ss}")],
        Some(&["no-evacuate", "enter"]),
    ),
    change("Undelegate", &[PATH, ("uid", "u"), FLAGS], &[], NO_FLAGS),
    change("Chmod", &[PATH, ("file", "s"), ("mode", "u"), FLAGS], &[], NO_FLAGS),
    read("Watch", &[PATH, ("events", "as"), FLAGS], &[("id", "u")], NO_FLAGS),
    read("Unwatch", &[("id", "u")], &[], None),
    read("Accounts", &[], &[("accounts", "a(sstt)")], None),
    read("WhoAmI", &[], &[("caller", "a{ss}")], None),
];

/// The one signal, which goes to the client that watches and to nobody else: the watch, the path in
/// the client's view, the event, and the kernel's count of it or 0.
pub const EVENT: Signal =
    Signal { member: "Event", arguments: &[("id", "u"), PATH, ("event", "s"), ("count", "t")] };

/// Every property of [`crate::INTERFACE`]; all are constant.
pub const PROPERTIES: &[Property] = &[
    Property { name: "Version", signature: "s" },
    Property { name: "Layout", signature: "s" },
    Property { name: "Controllers", signature: "a(sa{ss})" },
    Property { name: "Features", signature: "as" },
];

/// The introspection XML of [`crate::INTERFACE`], as one `<interface>` element.
pub fn introspection() -> String {
    interface_xml(crate::INTERFACE, METHODS, &[EVENT], PROPERTIES)
}

pub(crate) fn interface_xml(
    name: &str,
    methods: &[Method],
    signals: &[Signal],
    properties: &[Property],
) -> String {
    let mut xml = format!(" <interface name=\"{name}\">\n");
    for method in methods {
        xml.push_str(&format!("  <method name=\"{}\">\n", method.member));
        for (direction, arguments) in [("in", method.input), ("out", method.output)] {
            for (name, signature) in arguments {
                xml.push_str(&format!(
                    "   <arg name=\"{name}\" type=\"{signature}\" direction=\"{direction}\"/>\n"
                ));
            }
        }
        xml.push_str("  </method>\n");
    }
    for signal in signals {
        xml.push_str(&format!("  <signal name=\"{}\">\n", signal.member));
        for (name, signature) in signal.arguments {
            xml.push_str(&format!("   <arg name=\"{name}\" type=\"{signature}\"/>\n"));
        }
        xml.push_str("  </signal>\n");
    }
    for Property { name, signature } in properties {
        xml.push_str(&format!(
            "  <property name=\"{name}\" type=\"{signature}\" access=\"read\">\n   \
             <annotation name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" value=\"const\"/>\n  \
             </property>\n"
        ));
    }
    xml.push_str(" </interface>\n");
    xml
}

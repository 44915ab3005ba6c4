//! The limits of one call: understood together or not at all.

use std::collections::BTreeMap;

use super::names::CPUS;
use super::{Limit, LimitError, LimitName};

/// Limits, at most one of each name, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSet(BTreeMap<LimitName, Limit>);

impl LimitSet {
    /// Reads names and values, for example a map of the wire.
    ///
    /// # Errors
    /// The first that is not understood; a limit given twice; limits that exclude each other.
    pub fn parse<N, V>(limits: impl IntoIterator<Item = (N, V)>) -> Result<Self, LimitError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut set = Self::default();
        for (name, value) in limits {
            set.add(Limit::parse(name.as_ref(), value.as_ref())?)?;
        }
        set.check_idle()?;
        Ok(set)
    }

    fn add(&mut self, limit: Limit) -> Result<(), LimitError> {
        let name = limit.name();
        let second = if name == LimitName::CpuMax { CPUS } else { "the same again" };
        match self.0.insert(name, limit) {
            None => Ok(()),
            Some(_) => Err(LimitError::Conflict { first: name, second, reason: "given twice" }),
        }
    }

    /// An idle cgroup has no weight: the kernel refuses to set it, and forgets what it was.
    fn check_idle(&self) -> Result<(), LimitError> {
        let idle = self.get(LimitName::CpuIdle) == Some(&Limit::CpuIdle(true));
        match idle && self.get(LimitName::CpuWeight).is_some() {
            true => Err(LimitError::Conflict {
                first: LimitName::CpuIdle,
                second: "cpu.weight",
                reason: "an idle cgroup has no weight",
            }),
            false => Ok(()),
        }
    }

    /// The limit of that name.
    pub fn get(&self, name: LimitName) -> Option<&Limit> {
        self.0.get(&name)
    }

    /// All limits, in the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.0.values()
    }

    /// Their names, in the same order.
    pub fn names(&self) -> impl Iterator<Item = LimitName> {
        self.0.keys().copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_value_and_nothing_is_understood() {
        let error = LimitSet::parse([("pids.max", "5"), ("memory.max", "64X")]).unwrap_err();
        assert_eq!(error.to_string(), "memory.max: \"64X\" is not a size");
        let set = LimitSet::parse([("pids.max", "5"), ("memory.max", "64M")]).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), [LimitName::PidsMax, LimitName::MemoryMax]);
    }

    #[test]
    fn cpu_time_is_said_once() {
        let error = LimitSet::parse([("cpus", "1"), ("cpu.max", "max")]).unwrap_err();
        assert_eq!(error.to_string(), "cpu.max and cpus: given twice");
    }

    #[test]
    fn an_idle_cgroup_has_no_weight() {
        assert!(LimitSet::parse([("cpu.idle", "1"), ("cpu.weight", "5")]).is_err());
        let set = LimitSet::parse([("cpu.weight", "5"), ("cpu.idle", "0")]).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), [LimitName::CpuIdle, LimitName::CpuWeight]);
    }
}

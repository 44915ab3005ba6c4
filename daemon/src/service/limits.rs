//! SetLimits and GetLimits.

use std::collections::HashMap;

use cgroupd_proto::CgroupPath;

use super::Request;
use crate::Result;

impl Request<'_> {
    pub(crate) fn set_limits(
        &self,
        _path: &CgroupPath,
        _limits: &HashMap<String, String>,
        _dry_run: bool,
        _force: bool,
    ) -> Result<HashMap<String, String>> {
        unimplemented!("waits for the engine")
    }

    pub(crate) fn get_limits(
        &self,
        _path: &CgroupPath,
        _names: &[String],
    ) -> Result<HashMap<String, String>> {
        unimplemented!("waits for the engine")
    }
}

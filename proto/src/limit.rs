//! Limits: names, units, ranges. Parsed once at the edge.

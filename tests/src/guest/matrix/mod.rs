//! All tests in all guests.

#![no_main]

#[path = "../targets/notifications.rs"]
mod notifications;

libfuzzer_sys::fuzz_target!(|data: &[u8]| notifications::check(data));

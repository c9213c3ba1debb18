#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| ftp_proto::fuzzing::frames(input));

#![no_main]
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| ftp_client::fuzzing::client(input));

// Half of the changes are whole steps, half are what libFuzzer thinks of.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(2) {
        fuzzer_mutate(data, size, max_size)
    } else {
        ftp_client::fuzzing::mutate_client(&mut data[..max_size], size, seed)
    }
});

// SPDX-License-Identifier: Apache-2.0
// A TCP round trip as a replicated write needs one at least: 4 KiB there, one byte back. With both
// ends asleep in the kernel it is mostly wake-ups; with both asking again and again it is none. And
// what one stream carries when nothing of it is waited for.
#pragma once

#include <string>

namespace gemel::bench {

struct RoundTrips {
    double sleeping_us = 0;  // medians
    double spinning_us = 0;
    double stream_bytes_per_s = 0;
};

// Serves one asker after the other on "ADDRESS:PORT", for ever.
[[noreturn]] void answer_round_trips(const std::string& address);

// Asks there; with "" over loopback, answered by a thread of this process.
RoundTrips measure_round_trips(const std::string& address);

}  // namespace gemel::bench

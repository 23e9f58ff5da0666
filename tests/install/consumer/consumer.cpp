// SPDX-License-Identifier: Apache-2.0
// Uses an installed gemel as an embedder would: a header, and a function from its library.
#include <cstdio>

#include "engine/base/prng.hpp"

int main() {
    gemel::Prng prng(1);
    std::printf("%llu\n", static_cast<unsigned long long>(prng.between(7, 7)));
    return 0;
}

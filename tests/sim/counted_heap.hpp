// SPDX-License-Identifier: Apache-2.0
// How much of the heap this program's C++ objects hold now: every operator new and delete of a
// binary that has counted_heap.cpp among its sources is counted. One thread only.
#pragma once

#include <cstdint>

namespace gemel::sim {

[[nodiscard]] std::uint64_t heap_in_use() noexcept;

}  // namespace gemel::sim

// SPDX-License-Identifier: Apache-2.0
// Which attach points a running kernel has, and which of them a kind of file system needs.
#pragma once

#include "engine/base/status.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct bpf_object;

namespace gemel {

class TrackerPoints {
   public:
    // Reads the types of the running kernel and of its modules. Errors: unsupported, with a
    // sentence's end in `why`.
    static Result<TrackerPoints> probe(std::string& why) noexcept;

    // Of the programs in `object`, leaves out those whose point is not there and those in
    // `without`. Before it is loaded.
    void select(bpf_object& object, const std::vector<std::string>& without) noexcept;
    // After select(): why a file system of this kind (tracker_device.kind) can't be watched; empty:
    // it can.
    [[nodiscard]] const std::string& missing_for(std::uint32_t kind) const noexcept {
        return missing_[kind < missing_.size() ? kind : 0];
    }

    // Values of enumerations without a name; 0: not there.
    [[nodiscard]] std::uint32_t btrfs_delalloc_bit() const noexcept { return delalloc_bit_; }
    [[nodiscard]] std::uint32_t folio_head_bit() const noexcept { return head_bit_; }

   private:
    struct Types;

    std::vector<std::string> points_;  // tracepoints, sorted
    std::uint32_t delalloc_bit_ = 0;
    std::uint32_t head_bit_ = 0;
    std::vector<std::string> missing_ = std::vector<std::string>(4);
};

}  // namespace gemel

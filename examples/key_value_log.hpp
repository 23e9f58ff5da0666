// SPDX-License-Identifier: Apache-2.0
// Keys and values in a log on a volume: a record is appended for each change, and the newest one of
// a key counts. What append() has said is there whichever machine goes on.
//
// A record: checksum (8 bytes), key size, value size (4 each), key, value. The checksum is seeded
// with that of the record before, so that the log ends at the first record that does not belong to
// it: what a crash left of a torn one, or what an older log left behind it, is never taken for
// more.
#pragma once

#include "examples/blocking_volume.hpp"
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace examples {

class KeyValueLog {
   public:
    // Requires: the volume outlives it.
    explicit KeyValueLog(libgemel::Volume& volume) : volume_(volume) {}

    // Reads what is there. To be called whenever this node has begun to serve, and after an append
    // whose outcome is not known.
    libgemel::Error recover();
    // Durable on both nodes when it returns Error::none. Error::no_space: the log is full. After
    // another error it may be there or not.
    libgemel::Error append(std::string_view key, std::string_view value);
    // Null: there is no such key.
    [[nodiscard]] const std::string* find(const std::string& key) const;
    [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }

   private:
    // Bytes of the volume from `offset` on, read ahead.
    libgemel::Error load(std::uint64_t offset, std::size_t size);

    BlockingVolume volume_;
    std::map<std::string, std::string> values_;
    std::uint64_t end_ = 0;       // of the log
    std::uint64_t checksum_ = 0;  // of its last record
    std::vector<std::byte> window_;
    std::uint64_t window_begin_ = 0;
};

}  // namespace examples

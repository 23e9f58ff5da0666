// SPDX-License-Identifier: Apache-2.0
// The record in the kernel: two sets of hash tables, of which one is written to while the other is
// read (tracker_api.bpf.h). Both stay pinned, so a record that was taken and not confirmed outlives
// the process; it is found again as a spare set that is not empty.
#pragma once

#include "ebpf/tracker_api.bpf.h"
#include "engine/base/status.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gemel {

// A descriptor of a map, program or link, closed at the end.
class BpfFd {
   public:
    BpfFd() noexcept = default;
    explicit BpfFd(int fd) noexcept : fd_(fd) {}
    BpfFd(BpfFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    BpfFd& operator=(BpfFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~BpfFd();

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

   private:
    int fd_ = -1;
};

// What lies pinned under `name` in `directory`. Errors: ENOENT.
Result<BpfFd> open_pinned(const std::string& directory, const std::string& name) noexcept;

class TrackerSets {
   public:
    using Object = std::pair<tracker_object, tracker_state>;
    using Word = std::pair<tracker_word, std::uint64_t>;

    // Makes both sets, empty, pins them and makes the first one active.
    Status create(const std::string& directory, std::uint32_t objects_max,
                  std::uint32_t words_max) noexcept;
    // Those that are pinned there.
    Status adopt(const std::string& directory) noexcept;

    // Gives the file system its entry in both sets, which says whether something was lost.
    Status add_device(std::uint32_t device) noexcept;
    // Unless the spare tables hold a record that was not confirmed: exchanges them with the active
    // ones, and waits until no program uses those any more. Then reads them.
    Status take(std::vector<Object>& objects, std::vector<Word>& words) noexcept;
    // Empties the spare tables.
    Status confirm() noexcept;

   private:
    // One table of each kind is named by its array of one map.
    struct Tables {
        std::array<BpfFd, 2> table;
        BpfFd active;  // the array

        [[nodiscard]] Result<std::size_t> spare() const noexcept;
        Status exchange() noexcept;
    };

    Status open_arrays(const std::string& directory) noexcept;
    Status put_device(int table, std::uint32_t device) const noexcept;
    Status read(std::vector<Object>& objects, std::vector<Word>& words) const noexcept;

    Tables objects_, ranges_;
    std::vector<std::uint32_t> devices_;
};

}  // namespace gemel

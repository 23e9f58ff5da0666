// SPDX-License-Identifier: Apache-2.0
// The bytes of one simulated file: pages of 4 KiB, holes where there are none, and beside them what
// the disk holds of each page that was changed since it was last written there. What a power cut
// leaves of them stands in durability.hpp.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/prng.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

namespace gemel::sim {

inline constexpr std::uint64_t kPageSize = 4096;
inline constexpr std::uint64_t kSectorSize = 512;

// Shared, copied before it is changed.
class PageRef {
   public:
    PageRef() noexcept = default;
    PageRef(const PageRef& other) noexcept : page_(other.page_) {
        if (page_ != nullptr) ++page_->references;
    }
    PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
    PageRef& operator=(PageRef other) noexcept {
        std::swap(page_, other.page_);
        return *this;
    }
    ~PageRef() {
        if (page_ != nullptr && --page_->references == 0) delete page_;
    }
    [[nodiscard]] bool is_null() const noexcept { return page_ == nullptr; }
    // Requires: !is_null().
    [[nodiscard]] const std::byte* data() const noexcept { return page_->bytes.data(); }
    // Makes it this reference's own (zeros if it was null) and gives its bytes to change.
    std::byte* own() noexcept;

   private:
    struct Page {
        std::uint32_t references = 1;
        std::array<std::byte, kPageSize> bytes;
    };
    Page* page_ = nullptr;
};

// How much of what was not synced survives a power cut.
enum class Survival : std::uint8_t { none, all, some, torn };

class Content {
   public:
    // Zeros where there is a hole. Requires: the range lies inside the file.
    void read(std::uint64_t offset, MutableBytes buffer) const noexcept;
    // How many bytes from `offset` on can be written when `pages_free` pages may be added.
    [[nodiscard]] std::uint64_t writable(std::uint64_t offset, std::uint64_t size,
                                         std::uint64_t pages_free) const noexcept;
    void write(std::uint64_t offset, Bytes data, Prng& prng) noexcept;
    // Zeros in the partial pages at its ends; whole pages become holes or, with `keep_allocated`,
    // allocated pages that read as zeros (FALLOC_FL_ZERO_RANGE).
    void zero(std::uint64_t begin, std::uint64_t end, bool keep_allocated, Prng& prng) noexcept;
    // Drops what lies beyond `size`.
    void truncate(std::uint64_t size, Prng& prng) noexcept;
    // Gives every hole in the range a page that counts as allocated and is still a hole to seek.
    void allocate(std::uint64_t begin, std::uint64_t end, Prng& prng) noexcept;
    // Takes the pages [first, first + count) out and moves those behind them forward, or makes room
    // for `count` pages at `first`. Durable at once, with all the rest of the file.
    void collapse(std::uint64_t first, std::uint64_t count) noexcept;
    void insert(std::uint64_t first, std::uint64_t count) noexcept;
    [[nodiscard]] std::uint64_t holes_in(std::uint64_t begin, std::uint64_t end) const noexcept;
    // The first byte at or after `offset` that is data (or a hole); `size` if there is none.
    [[nodiscard]] std::uint64_t next_data(std::uint64_t offset, std::uint64_t size) const noexcept;
    [[nodiscard]] std::uint64_t next_hole(std::uint64_t offset, std::uint64_t size) const noexcept;
    [[nodiscard]] std::uint64_t page_count() const noexcept { return pages_.size(); }

    [[nodiscard]] bool is_dirty() const noexcept { return !durable_.empty() || !lost_.empty(); }
    // Everything reaches the disk.
    void sync() noexcept { durable_.clear(); }
    // The file's size reaches the disk (before its pages do): what was cut off is gone there too.
    void sync_cuts() noexcept;
    // What should have reached the disk never will; the cache counts it as clean.
    void lose_dirty() noexcept;
    // The cache forgets the lost pages: the disk's older ones are read from now on.
    void evict_lost() noexcept;
    // `size_survived`: the size in memory is the size on disk; cuts that led to it then are too.
    void power_cut(Survival survival, bool size_survived, Prng& prng) noexcept;

   private:
    struct Durable {
        PageRef page;
        bool present = false;  // false: a hole on disk
        bool cut = false;      // removed in memory since, by a truncation or a punched hole
    };
    using Pages = std::map<std::uint64_t, PageRef>;

    // Remembers the disk's version of a page about to change.
    void before_change(std::uint64_t index, Prng& prng) noexcept;
    void remove(Pages::iterator page, Prng& prng) noexcept;
    void zero_part(std::uint64_t index, std::uint64_t begin, std::uint64_t end,
                   Prng& prng) noexcept;
    void restore(std::uint64_t index, const Durable& durable) noexcept;
    void settle(std::uint64_t index, const Durable& durable, Survival survival, bool size_survived,
                Prng& prng) noexcept;
    void tear(std::uint64_t index, const Durable& durable, Prng& prng) noexcept;

    Pages pages_;  // a null page is allocated and reads as zeros
    std::map<std::uint64_t, Durable> durable_;
    std::map<std::uint64_t, Durable> lost_;
};

}  // namespace gemel::sim

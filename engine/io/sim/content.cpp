// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/content.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>
#include <cstring>

namespace gemel::sim {

namespace {

// Calls visit(page index, begin, end) with the part of [offset, end) in each page, relative to it.
template <typename Visit>
void for_each_page(std::uint64_t offset, std::uint64_t end, Visit&& visit) noexcept {
    while (offset < end) {
        const std::uint64_t index = offset / kPageSize;
        const std::uint64_t stop = std::min(end, (index + 1) * kPageSize);
        visit(index, offset % kPageSize, stop - index * kPageSize);
        offset = stop;
    }
}

}  // namespace

std::byte* PageRef::own() noexcept {
    if (page_ == nullptr) {
        page_ = new Page;
        page_->bytes.fill(std::byte{0});
    } else if (page_->references > 1) {
        Page* copy = new Page(*page_);
        copy->references = 1;
        --page_->references;
        page_ = copy;
    }
    return page_->bytes.data();
}

void Content::read(std::uint64_t offset, MutableBytes buffer) const noexcept {
    std::byte* out = buffer.data();
    for_each_page(offset, offset + buffer.size(), [&](auto index, auto begin, auto end) {
        const auto page = pages_.find(index);
        if (page == pages_.end() || page->second.is_null()) {
            std::memset(out, 0, end - begin);
        } else {
            std::memcpy(out, page->second.data() + begin, end - begin);
        }
        out += end - begin;
    });
}

std::uint64_t Content::writable(std::uint64_t offset, std::uint64_t size,
                                std::uint64_t pages_free) const noexcept {
    std::uint64_t bytes = 0;
    bool full = false;
    for_each_page(offset, offset + size, [&](auto index, auto begin, auto end) {
        if (full) return;
        if (!pages_.contains(index)) {
            if (pages_free == 0) {
                full = true;
                return;
            }
            --pages_free;
        }
        bytes += end - begin;
    });
    return bytes;
}

void Content::before_change(std::uint64_t index, Prng& prng) noexcept {
    auto lost = lost_.find(index);
    if (lost != lost_.end()) {
        // The disk still holds the version from before the failed sync.
        durable_[index] = std::move(lost->second);
        lost_.erase(lost);
        return;
    }
    const auto [entry, is_new] = durable_.try_emplace(index);
    // Already dirty: the kernel may have written it back meanwhile, unasked.
    if (!is_new && (entry->second.cut || !prng.one_in(8))) return;
    const auto page = pages_.find(index);
    entry->second.present = page != pages_.end();
    entry->second.page = entry->second.present ? page->second : PageRef();
}

void Content::write(std::uint64_t offset, Bytes data, Prng& prng) noexcept {
    const std::byte* in = data.data();
    for_each_page(offset, offset + data.size(), [&](auto index, auto begin, auto end) {
        before_change(index, prng);
        std::memcpy(pages_[index].own() + begin, in, end - begin);
        in += end - begin;
    });
}

void Content::remove(Pages::iterator page, Prng& prng) noexcept {
    const std::uint64_t index = page->first;
    before_change(index, prng);
    durable_[index].cut = true;
    pages_.erase(page);
}

void Content::zero_part(std::uint64_t index, std::uint64_t begin, std::uint64_t end,
                        Prng& prng) noexcept {
    const auto page = pages_.find(index);
    if (page == pages_.end() || page->second.is_null()) return;
    before_change(index, prng);
    std::memset(page->second.own() + begin, 0, end - begin);
}

void Content::zero(std::uint64_t begin, std::uint64_t end, bool keep_allocated,
                   Prng& prng) noexcept {
    const std::uint64_t first_whole = (begin + kPageSize - 1) / kPageSize;
    const std::uint64_t after_whole = end / kPageSize;
    if (first_whole > after_whole) {
        zero_part(begin / kPageSize, begin % kPageSize, end - begin / kPageSize * kPageSize, prng);
        return;
    }
    if (begin % kPageSize != 0) {
        zero_part(begin / kPageSize, begin % kPageSize, kPageSize, prng);
    }
    if (end % kPageSize != 0) zero_part(after_whole, 0, end % kPageSize, prng);
    auto page = pages_.lower_bound(first_whole);
    while (page != pages_.end() && page->first < after_whole) remove(page++, prng);
    if (keep_allocated) allocate(first_whole * kPageSize, after_whole * kPageSize, prng);
}

void Content::truncate(std::uint64_t size, Prng& prng) noexcept {
    if (size % kPageSize != 0) zero_part(size / kPageSize, size % kPageSize, kPageSize, prng);
    auto page = pages_.lower_bound((size + kPageSize - 1) / kPageSize);
    while (page != pages_.end()) remove(page++, prng);
}

void Content::allocate(std::uint64_t begin, std::uint64_t end, Prng& prng) noexcept {
    for_each_page(begin, end, [&](auto index, auto, auto) {
        if (pages_.contains(index)) return;
        before_change(index, prng);
        pages_.try_emplace(index);
    });
}

void Content::collapse(std::uint64_t first, std::uint64_t count) noexcept {
    pages_.erase(pages_.lower_bound(first), pages_.lower_bound(first + count));
    for (auto page = pages_.lower_bound(first); page != pages_.end();) {
        auto node = pages_.extract(page++);
        node.key() -= count;
        pages_.insert(std::move(node));
    }
    evict_lost();
    durable_.clear();
}

void Content::insert(std::uint64_t first, std::uint64_t count) noexcept {
    Pages moved;
    for (auto page = pages_.lower_bound(first); page != pages_.end();) {
        auto node = pages_.extract(page++);
        node.key() += count;
        moved.insert(moved.end(), std::move(node));
    }
    pages_.merge(moved);
    evict_lost();
    durable_.clear();
}

std::uint64_t Content::holes_in(std::uint64_t begin, std::uint64_t end) const noexcept {
    std::uint64_t count = 0;
    for_each_page(begin, end, [&](auto index, auto, auto) {
        if (!pages_.contains(index)) ++count;
    });
    return count;
}

std::uint64_t Content::next_data(std::uint64_t offset, std::uint64_t size) const noexcept {
    auto page = pages_.lower_bound(offset / kPageSize);
    while (page != pages_.end() && page->second.is_null()) ++page;
    if (page == pages_.end()) return size;
    return std::min(size, std::max(offset, page->first * kPageSize));
}

std::uint64_t Content::next_hole(std::uint64_t offset, std::uint64_t size) const noexcept {
    std::uint64_t index = offset / kPageSize;
    auto page = pages_.find(index);
    while (page != pages_.end() && page->first == index && !page->second.is_null()) {
        ++index;
        ++page;
    }
    return std::min(size, std::max(offset, index * kPageSize));
}

// --- Durability --------------------------------------------------------------------------------

void Content::sync_cuts() noexcept {
    for (auto& [index, durable] : durable_) {
        if (!durable.cut) continue;
        durable.cut = false;
        durable.present = false;
        durable.page = PageRef();
    }
}

void Content::lose_dirty() noexcept {
    for (auto& [index, durable] : durable_) lost_.insert_or_assign(index, std::move(durable));
    durable_.clear();
}

void Content::restore(std::uint64_t index, const Durable& durable) noexcept {
    if (durable.present) {
        pages_[index] = durable.page;
    } else {
        pages_.erase(index);
    }
}

void Content::evict_lost() noexcept {
    for (const auto& [index, durable] : lost_) {
        // A hole made by truncation is metadata and was not lost with the pages.
        if (!durable.cut) restore(index, durable);
    }
    lost_.clear();
}

void Content::tear(std::uint64_t index, const Durable& durable, Prng& prng) noexcept {
    PageRef page = pages_[index];
    std::byte* bytes = page.own();
    for (std::uint64_t sector = 0; sector < kPageSize; sector += kSectorSize) {
        if (prng.one_in(2)) continue;
        if (durable.present && !durable.page.is_null()) {
            std::memcpy(bytes + sector, durable.page.data() + sector, kSectorSize);
        } else {
            std::memset(bytes + sector, 0, kSectorSize);
        }
    }
    pages_[index] = page;
}

void Content::settle(std::uint64_t index, const Durable& durable, Survival survival,
                     bool size_survived, Prng& prng) noexcept {
    if (durable.cut && !size_survived) return restore(index, durable);
    const bool in_memory = pages_.contains(index);
    // A page that was cut and written anew: the old one cannot come back, the new one may be lost.
    const Durable base = durable.cut ? Durable{} : durable;
    bool keep = survival == Survival::all;
    if (survival == Survival::some || survival == Survival::torn) keep = prng.one_in(2);
    if (keep) return;
    if (survival == Survival::torn && in_memory && prng.one_in(2)) return tear(index, base, prng);
    restore(index, base);
}

void Content::power_cut(Survival survival, bool size_survived, Prng& prng) noexcept {
    evict_lost();
    for (const auto& [index, durable] : durable_) {
        settle(index, durable, survival, size_survived, prng);
    }
    durable_.clear();
}

}  // namespace gemel::sim

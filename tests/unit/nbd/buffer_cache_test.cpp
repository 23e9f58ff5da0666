// SPDX-License-Identifier: Apache-2.0
#include "frontends/nbd/buffer_cache.hpp"

#include "frontends/nbd/export.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

namespace gemel::nbd {
namespace {

// Goal: whatever is asked for is there in full, aligned, and nobody else's.
TEST(BufferCache, GivesWholeAlignedBuffersToOneAtATime) {
    BufferCache cache;
    std::set<const std::byte*> taken;
    std::vector<MutableBytes> buffers;
    for (const std::size_t size : {1u, 512u, 2049u, 4096u, 4097u, 65'537u, 131'072u, 1'048'576u}) {
        for (int i = 0; i < 3; ++i) {
            const MutableBytes buffer = cache.take(size);
            ASSERT_EQ(buffer.size(), size);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % kExportBufferAlignment, 0u);
            EXPECT_TRUE(taken.insert(buffer.data()).second);
            std::memset(buffer.data(), 1, size);
            buffers.push_back(buffer);
        }
    }
    for (const MutableBytes buffer : buffers) cache.give_back(buffer);
}

// Goal: memory is used again, also for another size that it is large enough for.
TEST(BufferCache, UsesAgainWhatCameBack) {
    BufferCache cache;
    const MutableBytes first = cache.take(3000);
    cache.give_back(first);
    const MutableBytes second = cache.take(BufferCache::kSmallSize);
    EXPECT_EQ(second.data(), first.data());
    std::memset(second.data(), 2, second.size());
    cache.give_back(second);
}

// Goal: a burst leaves no more than the bound behind. Method: of more buffers than are kept, given
// back in order, the first ones are on the shelf, and the last ones went to the heap.
TEST(BufferCache, KeepsNoMoreThanItSays) {
    BufferCache cache;
    std::vector<MutableBytes> burst;
    while (burst.size() < BufferCache::kSmallCount + 10) burst.push_back(cache.take(4096));
    for (const MutableBytes buffer : burst) cache.give_back(buffer);
    EXPECT_EQ(cache.kept(), BufferCache::kSmallCount * BufferCache::kSmallSize);
    for (std::size_t i = 0; i < BufferCache::kLargeCount + 1; ++i) {
        burst[i] = cache.take(BufferCache::kLargeSize);
    }
    for (std::size_t i = 0; i < BufferCache::kLargeCount + 1; ++i) cache.give_back(burst[i]);
    EXPECT_EQ(cache.kept(), BufferCache::kKeptMax);
}

}  // namespace
}  // namespace gemel::nbd

// SPDX-License-Identifier: Apache-2.0
// The intent log: durable marks of every region that may differ between the two nodes. A region's
// intent is durable before the region is first touched, on each node in its own log, and is cleared
// only when both nodes are known to hold the region equal on stable storage (protocol.md 12). So
// after any crash the live intents name every possible difference. On-disk format: docs/on-disk.md.
//
// One log a mirror; loop thread only. Hot regions cost nothing after their first touch: covers()
// is a hash lookup.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "engine/io/loop.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace gemel {

// What an intent covers. Regions of content are kIntentRegionSize long and numbered from 0.
struct IntentKey {
    static constexpr std::uint32_t kAttributes = 0xFFFF'FFFF;  // mode, owner, times, xattrs
    static constexpr std::uint32_t kNames = 0xFFFF'FFFE;       // the entries of a directory
    // Every aspect of the kIdRangeCount ids that begin with `object`: covers objects made since.
    static constexpr std::uint32_t kIdRange = 0xFFFF'FFFD;
    // Everything in the volume (object is none): "must be compared".
    static constexpr std::uint32_t kVolume = 0xFFFF'FFFC;
    // Every region of the content of `object`.
    static constexpr std::uint32_t kAllContent = 0xFFFF'FFFB;
    static constexpr std::uint32_t kRegionMax = 0xFFFF'FF00;

    ObjectId object;
    std::uint32_t region = 0;
    std::uint16_t volume = 0;

    friend constexpr auto operator<=>(const IntentKey&, const IntentKey&) noexcept = default;
};
// A content region, or one of the special regions with the object that it needs. For keys that a
// peer or a disk has given: the log takes no others.
[[nodiscard]] bool is_intent_key_valid(const IntentKey& key) noexcept;
inline constexpr std::uint64_t kIntentRegionSize = 4 * kMiB;
inline constexpr std::uint64_t kIdRangeCount = 4096;

class IntentLog {
   public:
    // Opens (or makes) the log in `directory`, reads the newest intact snapshot and the records
    // after it. A torn tail is what a crash leaves and is dropped: nothing behind it was ever
    // reported durable. Errors: corrupt (an intact-looking log with a damaged middle; the caller
    // compares everything), errno. `owner` identifies the mirror inside the file; another owner's
    // log is foreign. The directory descriptor stays the caller's.
    static Result<std::unique_ptr<IntentLog>> open(Loop& loop, LogSink& log, Fd directory,
                                                   const Uuid& owner) noexcept;
    virtual ~IntentLog() = default;

    // True when the key, its id range, its object's kAllContent or its volume is durably marked.
    [[nodiscard]] virtual bool covers(const IntentKey& key) const noexcept = 0;
    // Notes that the regions are being touched now (in the current round), whether covered or not.
    // Returns true when all are durably covered already: the caller may touch them at once. Else it
    // may after the next commit(); what was touched in between counts as touched again when that
    // commit completes, so that who waits in a queue behind it need not call again.
    // An object of a live id range gets no mark of its own. Under kVolume and kAllContent a key
    // does, without anybody waiting for it: it outlives them.
    // Requires: is_intent_key_valid of each.
    virtual bool touch(std::span<const IntentKey> keys) noexcept = 0;
    // The same for what is not expected to be touched again: idle rounds do not keep it.
    virtual bool touch_once(std::span<const IntentKey> keys) noexcept = 0;
    // Calls `done` when every key touched up to now is durable; several waiters share one write.
    // After an error of the log nothing becomes durable any more and every waiter gets the error.
    virtual void commit(std::function<void(Status)> done) noexcept = 0;

    // Rounds: clearing needs that both nodes began a sync after the last touch of a round had
    // completed on that node. begin_round() returns the number of the round that ends here; touches
    // from now on belong to the next.
    virtual std::uint64_t begin_round() noexcept = 0;
    // Both nodes have synced everything up to the end of `round`: intents last touched in rounds
    // <= round - idle_rounds may be forgotten (idle_rounds keeps hot regions marked), those touched
    // by touch_once alone in rounds <= round. Clearing is lazy: it costs no sync. A key touched
    // meanwhile stays, or is made durable again first.
    virtual void clear_through(std::uint64_t round, std::uint64_t idle_rounds) noexcept = 0;
    // Forgets exactly these keys (the resync has proved them equal and synced on both nodes); those
    // not durable yet stay. Requires: nothing was touched under them since those syncs began.
    virtual void clear(std::span<const IntentKey> keys) noexcept = 0;

    // Every live intent, durable or about to be.
    virtual void for_each(const std::function<void(const IntentKey&)>& visit) const noexcept = 0;
    [[nodiscard]] virtual std::size_t live_count() const noexcept = 0;
    [[nodiscard]] virtual bool is_failed() const noexcept = 0;
    // After a failure: another attempt. What was being written counts as not durable, and the next
    // write is a new file with everything else. No effect on a log that has not failed.
    virtual void recover() noexcept = 0;
};

}  // namespace gemel

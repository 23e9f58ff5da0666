// SPDX-License-Identifier: Apache-2.0
// What a simulated world did: a digest over everything that was executed, so that two runs can be
// compared, and the last lines in readable form, for a failure.
#pragma once

#include "engine/base/units.hpp"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::sim {

enum class EventKind : std::uint8_t {
    test,  // scheduled by the test itself
    post,  // tasks posted to a loop
    timer,
    job,  // Job::run
    job_done,
    io,        // an IoOp takes effect
    io_done,   // IoOp::on_complete
    turn_end,  // bytes sent outside a turn go to the kernel
    connect,
    stream,  // bytes or the end of a stream arrive
    stream_ack,
    stream_reset,
    datagram,
    vfs,    // a call of a SimVfs
    fault,  // something was cut, killed, paused, ... or healed
    log,
};

std::string_view event_kind_name(EventKind kind) noexcept;

class Trace {
   public:
    // Node number of what belongs to no node.
    static constexpr std::uint16_t kNoNode = 0xFFFF;

    explicit Trace(std::size_t lines_max) : lines_(lines_max), texts_(lines_max) {}

    // `detail` must not depend on addresses in memory or on the wall clock. Of a vfs call:
    // inode << 8 | VfsCall.
    void record(Instant now, std::uint16_t node, EventKind kind, std::uint64_t detail) noexcept;
    void record(Instant now, std::uint16_t node, EventKind kind, std::string_view text) noexcept;

    // A text that is no part of what happened: the digest leaves it out.
    void remark(Instant now, std::uint16_t node, std::string_view text) noexcept;
    // How many lines of each kind are kept from here on. Forgets those that are.
    void keep(std::size_t lines_max);

    [[nodiscard]] std::uint64_t digest() const noexcept { return digest_; }
    // The last events and, reaching further back, the last texts; oldest first. `node_names[i]`
    // names node i.
    [[nodiscard]] std::string to_string(const std::vector<std::string>& node_names) const;
    // The last texts alone: what a person wants to read first.
    [[nodiscard]] std::string timeline(const std::vector<std::string>& node_names) const;

   private:
    struct Line {
        Instant now;
        std::uint64_t sequence = 0;  // 0: not used yet
        std::uint64_t detail = 0;
        std::uint16_t node = kNoNode;
        EventKind kind = EventKind::test;
        std::string text;
    };
    using Ring = std::vector<Line>;
    [[nodiscard]] static std::string merge(std::initializer_list<const Ring*> rings,
                                           const std::vector<std::string>& node_names);
    [[nodiscard]] static std::string detail_text(EventKind kind, std::uint64_t detail);
    Line text_line(Instant now, std::uint16_t node, EventKind kind, std::string_view text) noexcept;
    void mix(std::uint64_t value) noexcept;
    void mix_line(const Line& line) noexcept;
    static void append(const Line& line, const std::vector<std::string>& node_names,
                       std::string& text);

    Ring lines_, texts_;  // events, and what has a text
    std::uint64_t line_count_ = 0, text_count_ = 0;
    std::uint64_t digest_ = 0x9AE16A3B2F90404FULL;
};

}  // namespace gemel::sim

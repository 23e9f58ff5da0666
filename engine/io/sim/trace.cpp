// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/trace.hpp"

#include "engine/base/checksum.hpp"
#include "engine/io/sim/fault_policy.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>

namespace gemel::sim {

std::string_view event_kind_name(EventKind kind) noexcept {
    switch (kind) {
        case EventKind::test:
            return "test";
        case EventKind::post:
            return "post";
        case EventKind::timer:
            return "timer";
        case EventKind::job:
            return "job";
        case EventKind::job_done:
            return "job-done";
        case EventKind::io:
            return "io";
        case EventKind::io_done:
            return "io-done";
        case EventKind::turn_end:
            return "turn-end";
        case EventKind::connect:
            return "connect";
        case EventKind::stream:
            return "stream";
        case EventKind::stream_ack:
            return "stream-ack";
        case EventKind::stream_reset:
            return "stream-reset";
        case EventKind::datagram:
            return "datagram";
        case EventKind::vfs:
            return "vfs";
        case EventKind::fault:
            return "fault";
        case EventKind::log:
            return "log";
    }
    return "invalid";
}

void Trace::mix(std::uint64_t value) noexcept {
    digest_ = std::rotl(digest_ ^ value, 29) * 0x9FB21C651E98DF25ULL;
}

Trace::Line& Trace::next_line() noexcept { return lines_[count_++ % lines_.size()]; }

void Trace::record(Instant now, std::uint16_t node, EventKind kind, std::uint64_t detail) noexcept {
    mix(static_cast<std::uint64_t>(now.ns));
    mix(detail ^ (std::uint64_t{node} << 48) ^ (static_cast<std::uint64_t>(kind) << 40));
    if (lines_.empty()) return;
    Line& line = next_line();
    line.now = now;
    line.detail = detail;
    line.node = node;
    line.kind = kind;
    line.text.clear();
}

void Trace::record(Instant now, std::uint16_t node, EventKind kind,
                   std::string_view text) noexcept {
    record(now, node, kind, checksum64(as_bytes(text)));
    if (!lines_.empty()) lines_[(count_ - 1) % lines_.size()].text = text;
}

std::string Trace::detail_text(EventKind kind, std::uint64_t detail) {
    if (kind != EventKind::vfs) return std::to_string(detail);
    std::string text(vfs_call_name(static_cast<VfsCall>(detail & 0xFF)));
    return text + " of inode " + std::to_string(detail >> 8);
}

std::string Trace::to_string(const std::vector<std::string>& node_names) const {
    std::string text;
    const std::uint64_t kept = std::min<std::uint64_t>(count_, lines_.size());
    for (std::uint64_t i = count_ - kept; i < count_; ++i) {
        const Line& line = lines_[i % lines_.size()];
        char head[64];
        std::snprintf(head, sizeof head, "%12.6f ", static_cast<double>(line.now.ns) / 1e9);
        text += head;
        text += line.node < node_names.size() ? node_names[line.node] : std::string("-");
        text += ' ';
        text += event_kind_name(line.kind);
        text += ' ';
        text += line.text.empty() ? detail_text(line.kind, line.detail) : line.text;
        text += '\n';
    }
    return text;
}

}  // namespace gemel::sim

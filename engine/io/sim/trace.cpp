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

void Trace::mix_line(const Line& line) noexcept {
    mix(static_cast<std::uint64_t>(line.now.ns));
    mix(line.detail ^ (std::uint64_t{line.node} << 48) ^
        (static_cast<std::uint64_t>(line.kind) << 40));
}

void Trace::record(Instant now, std::uint16_t node, EventKind kind, std::uint64_t detail) noexcept {
    const Line line{now, line_count_ + text_count_ + 1, detail, node, kind, {}};
    mix_line(line);
    if (!lines_.empty()) lines_[line_count_++ % lines_.size()] = line;
}

Trace::Line Trace::text_line(Instant now, std::uint16_t node, EventKind kind,
                             std::string_view text) noexcept {
    const std::uint64_t sequence = line_count_ + text_count_ + 1;
    return {now, sequence, checksum64(as_bytes(text)), node, kind, std::string(text)};
}

void Trace::record(Instant now, std::uint16_t node, EventKind kind,
                   std::string_view text) noexcept {
    Line line = text_line(now, node, kind, text);
    mix_line(line);
    if (!texts_.empty()) texts_[text_count_++ % texts_.size()] = std::move(line);
}

void Trace::remark(Instant now, std::uint16_t node, std::string_view text) noexcept {
    if (texts_.empty()) return;
    texts_[text_count_++ % texts_.size()] = text_line(now, node, EventKind::test, text);
}

void Trace::keep(std::size_t lines_max) {
    lines_.assign(lines_max, {});
    texts_.assign(lines_max, {});
    line_count_ = text_count_ = 0;
}

std::string Trace::detail_text(EventKind kind, std::uint64_t detail) {
    if (kind != EventKind::vfs) return std::to_string(detail);
    std::string text(vfs_call_name(static_cast<VfsCall>(detail & 0xFF)));
    return text + " of inode " + std::to_string(detail >> 8);
}

void Trace::append(const Line& line, const std::vector<std::string>& node_names,
                   std::string& text) {
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

std::string Trace::to_string(const std::vector<std::string>& node_names) const {
    return merge({&lines_, &texts_}, node_names);
}

std::string Trace::timeline(const std::vector<std::string>& node_names) const {
    return merge({&texts_}, node_names);
}

std::string Trace::merge(std::initializer_list<const Ring*> rings,
                         const std::vector<std::string>& node_names) {
    std::vector<const Line*> kept;
    for (const Ring* ring : rings) {
        for (const Line& line : *ring) {
            if (line.sequence != 0) kept.push_back(&line);
        }
    }
    std::sort(kept.begin(), kept.end(),
              [](const Line* a, const Line* b) { return a->sequence < b->sequence; });
    std::string text;
    for (const Line* line : kept) append(*line, node_names, text);
    return text;
}

}  // namespace gemel::sim

// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/mount_table.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <optional>
#include <unistd.h>

namespace gemel {

namespace {

std::string_view next_word(std::string_view& line) noexcept {
    const std::size_t end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    line = end == std::string_view::npos ? std::string_view() : line.substr(end + 1);
    return word;
}

template <typename T>
bool to_number(std::string_view text, T& value) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

// Space, tab, newline and backslash stand as \ooo, three octal digits.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        const bool escaped =
            text[i] == '\\' && i + 3 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr ==
                text.data() + i + 4;
        if (escaped) {
            out.push_back(static_cast<char>(value));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

std::optional<MountEntry> parse_line(std::string_view line) {
    MountEntry entry;
    if (!to_number(next_word(line), entry.id)) return {};
    if (!to_number(next_word(line), entry.parent)) return {};
    const std::string_view device = next_word(line);
    const std::size_t colon = device.find(':');
    if (colon == std::string_view::npos) return {};
    if (!to_number(device.substr(0, colon), entry.device_major)) return {};
    if (!to_number(device.substr(colon + 1), entry.device_minor)) return {};
    entry.root = unescape(next_word(line));
    entry.target = unescape(next_word(line));
    while (!line.empty() && next_word(line) != "-") {
    }
    if (line.empty()) return {};
    entry.type = unescape(next_word(line));
    entry.source = unescape(next_word(line));
    return entry;
}

}  // namespace

std::vector<MountEntry> parse_mount_table(std::string_view text) {
    std::vector<MountEntry> mounts;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        if (auto entry = parse_line(text.substr(0, end)); entry.has_value()) {
            mounts.push_back(std::move(*entry));
        }
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    return mounts;
}

Result<std::vector<MountEntry>> read_mount_table() noexcept {
    const int fd = ::open("/proc/thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Status::from_errno(errno);
    std::string text;
    for (;;) {
        char chunk[16 * 1024];
        const ssize_t size = ::read(fd, chunk, sizeof chunk);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) {
            const Status failed = Status::from_errno(errno);
            ::close(fd);
            return failed;
        }
        if (size == 0) break;
        text.append(chunk, static_cast<std::size_t>(size));
    }
    ::close(fd);
    return parse_mount_table(text);
}

std::vector<MountEntry> layers_at(const std::vector<MountEntry>& mounts, std::string_view path) {
    std::vector<MountEntry> found;
    for (const MountEntry& entry : mounts) {
        if (entry.target == path) found.push_back(entry);
    }
    // Each layer's parent is the one below it; the lowest has a parent elsewhere.
    std::vector<MountEntry> ordered;
    std::uint64_t below = 0;
    while (!found.empty()) {
        const auto is_next = [&](const MountEntry& entry) {
            if (!ordered.empty()) return entry.parent == below;
            return std::none_of(found.begin(), found.end(), [&](const MountEntry& other) {
                return other.id == entry.parent && other.id != entry.id;
            });
        };
        const auto next = std::find_if(found.begin(), found.end(), is_next);
        if (next == found.end()) break;  // another, hidden stack of the same path
        below = next->id;
        ordered.push_back(std::move(*next));
        found.erase(next);
    }
    return ordered;
}

bool is_inside(std::string_view inner, std::string_view path) noexcept {
    if (path == "/") return inner.starts_with('/');
    if (!inner.starts_with(path)) return false;
    return inner.size() == path.size() || inner[path.size()] == '/';
}

}  // namespace gemel

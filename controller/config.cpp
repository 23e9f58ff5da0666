// SPDX-License-Identifier: Apache-2.0
#include "controller/config.hpp"

#include "controller/config_value.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <tuple>
#include <unistd.h>

namespace gemel {
namespace {

constexpr std::size_t kFileSizeMax = 1 << 20;

template <typename T>
const T* find_named(const std::vector<T>& items, std::string_view name) noexcept {
    for (const T& item : items) {
        if (item.name == name) return &item;
    }
    return nullptr;
}

// The whole file; a positive errno on failure.
int read_file(const std::string& path, std::string& text) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = 0;
    char buffer[16384];
    for (;;) {
        const ssize_t size = read(fd, buffer, sizeof buffer);
        if (size < 0) error = errno;
        if (size <= 0) break;
        text.append(buffer, static_cast<std::size_t>(size));
        if (text.size() > kFileSizeMax) error = EFBIG;
        if (error != 0) break;
    }
    close(fd);
    return error;
}

}  // namespace

std::string_view sync_mode_name(SyncMode mode) noexcept {
    switch (mode) {
        case SyncMode::write:
            return "write";
        case SyncMode::fsync:
            return "fsync";
        case SyncMode::async:
            return "async";
    }
    return "unknown";
}

std::string_view arbiter_kind_name(ArbiterKind kind) noexcept {
    switch (kind) {
        case ArbiterKind::none:
            return "none";
        case ArbiterKind::witness:
            return "witness";
        case ArbiterKind::etcd:
            return "etcd";
        case ArbiterKind::ping:
            return "ping";
    }
    return "unknown";
}

const NodeConfig* Config::find_node(std::string_view name) const noexcept {
    return find_named(nodes, name);
}

const MirrorConfig* Config::find_mirror(std::string_view name) const noexcept {
    return find_named(mirrors, name);
}

std::string ConfigError::to_string() const {
    if (line == 0) return file + ": " + sentence;
    return file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + sentence;
}

ConfigResult parse_config(std::string_view text, const std::string& file,
                          const ConfigContext& context) {
    ConfigDraft draft;
    draft.file = file;
    const ConfigValue root = parse_toml(text, draft);
    if (draft.errors.empty()) {
        read_config(root, draft);
        check_config(draft, context);
    }
    std::stable_sort(draft.errors.begin(), draft.errors.end(),
                     [](const ConfigError& a, const ConfigError& b) {
                         return std::tie(a.line, a.column) < std::tie(b.line, b.column);
                     });
    ConfigResult result;
    if (draft.errors.empty()) result.config = std::move(draft.config);
    result.errors = std::move(draft.errors);
    return result;
}

ConfigResult load_config(const std::string& path, const ConfigContext& context) {
    std::string text;
    if (const int error = read_file(path, text); error != 0) {
        ConfigResult result;
        result.errors.push_back({path, 0, 0, std::string("cannot be read: ") + strerror(error)});
        return result;
    }
    return parse_config(text, path, context);
}

}  // namespace gemel

// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_text.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <string_view>

namespace gemel {
namespace {

// A basic string of TOML 1.0; bytes that are no UTF-8 are for its reader to refuse.
std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            result += '\\';
            result += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            std::array<char, 8> escape{};
            std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
            result += escape.data();
        } else {
            result += c;
        }
    }
    return result + '"';
}

template <typename List>
std::string list_of(const List& texts) {
    std::string result = "[";
    for (const std::string& text : texts) result += (result.size() > 1 ? ", " : "") + quoted(text);
    return result + ']';
}

std::string line(std::string_view key, const std::string& value) {
    return std::string(key) + " = " + value + '\n';
}

std::string time_of(std::chrono::milliseconds time) {
    return '"' + std::to_string(time.count()) + "ms\"";
}

// Exact: a fraction of a KiB has at most ten decimals.
std::string size_of(std::uint64_t bytes) {
    std::array<char, 16> fraction{};
    std::snprintf(fraction.data(), fraction.size(), "%.10f",
                  static_cast<double>(bytes % 1024) / 1024);
    return '"' + std::to_string(bytes / 1024) + (fraction.data() + 1) + "KiB\"";
}

}  // namespace

std::string cluster_text(const libgemel::ClusterOptions& cluster) {
    std::string text =
        "[cluster]\n" + line("name", quoted(cluster.name)) + line("key", quoted(cluster.key_file));
    for (const auto& node : cluster.nodes) {
        text += "[node." + quoted(node.name) + "]\n" + line("links", list_of(node.links));
    }
    text += "[failover]\n" + line("heartbeat", time_of(cluster.heartbeat)) +
            line("detect", time_of(cluster.detect));
    text += "[arbiter]\n";
    if (cluster.witness.empty()) {
        text += line("kind", quoted("none"));
    } else {
        text += line("kind", quoted("witness")) + line("address", quoted(cluster.witness));
    }
    for (const auto& mirror : cluster.mirrors) {
        const std::string title = "mirror." + quoted(mirror.name);
        text += '[' + title + "]\n" + line("nodes", list_of(mirror.nodes));
        for (const auto& block : mirror.blocks) {
            text += "[[" + title + ".block]]\n" + line("name", quoted(block.name)) +
                    line("backing", quoted(block.backing)) +
                    line("size", size_of(block.size_bytes));
        }
    }
    return text;
}

}  // namespace gemel

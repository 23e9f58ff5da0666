// SPDX-License-Identifier: Apache-2.0
// What one simulated application knows of its directory: what it holds (Tree), what an op does to
// it (Change), and what must be there even after every node has lost its memory (DurableFacts).
#pragma once

#include "engine/base/bytes.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace gemel::sim {

struct File {
    ByteBuffer content;
    std::uint32_t mode = 0644;
    std::string colour;  // user.colour; empty: none

    friend bool operator==(const File&, const File&) = default;
};
using FileRef = std::shared_ptr<const File>;

// Hard links: names with the same file.
struct Tree {
    std::map<std::string, FileRef> files;
    std::set<std::string> directories;
};

struct Change {
    enum class Kind : std::uint8_t {
        make_own,  // the client's directory itself
        create,
        make_directory,
        remove_directory,
        unlink,
        rename,
        link,
        truncate,
        set_mode,
        set_colour,
        punch,
        write,
    };

    Kind kind = Kind::create;
    std::string name;
    std::string target;  // of rename and link
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint32_t mode = 0;
    std::string colour;
    ByteBuffer data;
    bool is_acknowledged = false;

    // Requires: what it names is there.
    void apply(Tree& tree) const;
    // It was carried out for the first `size` bytes only.
    void shorten(std::uint64_t done);
};

// Whether `seen` is `expected`; else `why`.
bool equal(const Tree& seen, const Tree& expected, std::string& why);
// Whether `seen` is `before` with a part of a write carried out: each sector of its range is the
// old or the new one, and everything else is as before.
bool is_torn(const Tree& seen, const Tree& before, const Change& write, std::string& why);

// What acknowledged syncs promise: names with what they stand for, and after a barrier (a sync of
// everything) also which names there are not. An op takes back what was known of what it touches
// from the moment it is submitted.
class DurableFacts {
   public:
    // `tree`: as it is before the change.
    void touch(const Tree& tree, const Change& change);
    void note_file(const Tree& tree, const std::string& name);
    void note_all(const Tree& tree);
    void forget() { *this = {}; }
    // The directory itself is durable.
    [[nodiscard]] bool has_directory() const noexcept { return has_directory_; }
    // Empty, or what is missing in `seen`.
    [[nodiscard]] std::string check(const Tree& seen) const;

   private:
    void touch_file(const Tree& tree, const std::string& name);
    void touch_name(const std::string& name);

    std::map<std::string, FileRef> known_;  // null: a directory
    std::set<std::string> open_;            // nothing is known of these
    bool others_are_absent_ = false;
    bool has_directory_ = false;
};

}  // namespace gemel::sim

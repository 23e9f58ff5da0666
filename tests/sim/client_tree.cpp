// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/client_tree.hpp"

#include "engine/base/assert.hpp"

#include <algorithm>

namespace gemel::sim {

namespace {

constexpr std::size_t kSector = 512;

// Every name of the file gets the changed one.
template <typename Edit>
void edit_file(Tree& tree, const std::string& name, Edit&& edit) {
    const FileRef old = tree.files.at(name);
    auto changed = std::make_shared<File>(*old);
    edit(*changed);
    for (auto& [other, file] : tree.files) {
        if (file == old) file = changed;
    }
}

void overwrite(File& file, std::uint64_t offset, Bytes data) {
    const std::size_t end = offset + data.size();
    if (file.content.size() < end) file.content.resize(end);
    std::copy(data.begin(), data.end(), file.content.begin() + static_cast<long>(offset));
}

void punch(File& file, std::uint64_t offset, std::uint64_t size) {
    const std::size_t end = std::min<std::size_t>(file.content.size(), offset + size);
    if (offset >= end) return;
    std::fill(file.content.begin() + static_cast<long>(offset),
              file.content.begin() + static_cast<long>(end), std::byte{0});
}

std::string list_of(const Tree& tree) {
    std::string text;
    for (const auto& [name, file] : tree.files) text += name + ' ';
    for (const std::string& name : tree.directories) text += name + "/ ";
    return text;
}

bool same_names(const Tree& a, const Tree& b) {
    const auto same = [](const auto& x, const auto& y) { return x.first == y.first; };
    return a.directories == b.directories && a.files.size() == b.files.size() &&
           std::equal(a.files.begin(), a.files.end(), b.files.begin(), same);
}

std::string difference(const File& seen, const File& wanted) {
    if (seen.content.size() != wanted.content.size()) {
        return ": size " + std::to_string(seen.content.size()) + " instead of " +
               std::to_string(wanted.content.size());
    }
    const auto at = std::mismatch(seen.content.begin(), seen.content.end(), wanted.content.begin());
    if (at.first != seen.content.end()) {
        return ": content at " + std::to_string(at.first - seen.content.begin());
    }
    return ": attributes";
}

bool same_sector(const File& one, const File& two, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
        const std::byte other = i < two.content.size() ? two.content[i] : std::byte{0};
        if (one.content[i] != other) return false;
    }
    return true;
}

}  // namespace

void Change::apply(Tree& tree) const {
    switch (kind) {
        case Kind::make_own:
            return;
        case Kind::create:
            tree.files[name] = std::make_shared<const File>();
            return;
        case Kind::make_directory:
            tree.directories.insert(name);
            return;
        case Kind::remove_directory:
            tree.directories.erase(name);
            return;
        case Kind::unlink:
            tree.files.erase(name);
            return;
        case Kind::rename: {
            const FileRef file = tree.files.at(name);
            tree.files.erase(name);
            tree.files[target] = file;
            return;
        }
        case Kind::link:
            tree.files[target] = tree.files.at(name);
            return;
        case Kind::truncate:
            return edit_file(tree, name, [this](File& file) { file.content.resize(size); });
        case Kind::set_mode:
            return edit_file(tree, name, [this](File& file) { file.mode = mode; });
        case Kind::set_colour:
            return edit_file(tree, name, [this](File& file) { file.colour = colour; });
        case Kind::punch:
            return edit_file(tree, name, [this](File& file) { punch(file, offset, size); });
        case Kind::write:
            return edit_file(tree, name, [this](File& file) { overwrite(file, offset, data); });
    }
}

void Change::shorten(std::uint64_t done) {
    GEMEL_ASSERT(kind == Kind::write && done <= data.size());
    size = done;
    data.resize(done);
}

bool equal(const Tree& seen, const Tree& expected, std::string& why) {
    if (!same_names(seen, expected)) {
        why = "other names than acknowledged: " + list_of(seen) + "instead of " + list_of(expected);
        return false;
    }
    for (const auto& [name, file] : seen.files) {
        const File& wanted = *expected.files.at(name);
        if (*file == wanted) continue;
        why = name + " is not what was acknowledged" + difference(*file, wanted);
        return false;
    }
    return true;
}

bool is_torn(const Tree& seen, const Tree& before, const Change& write, std::string& why) {
    if (write.kind != Change::Kind::write || seen.files.count(write.name) == 0) return false;
    Tree after = before;
    write.apply(after);
    const File& there = *seen.files.at(write.name);
    const File& old_one = *before.files.at(write.name);
    const File& new_one = *after.files.at(write.name);
    const std::size_t size = there.content.size();
    if (size < old_one.content.size() || size > new_one.content.size()) return false;
    for (std::size_t at = 0; at < size; at += kSector) {
        const std::size_t end = std::min(size, at + kSector);
        if (!same_sector(there, old_one, at, end) && !same_sector(there, new_one, at, end)) {
            why += "; a sector that is neither old nor new";
            return false;
        }
    }
    Tree repaired = before;
    edit_file(repaired, write.name, [&](File& file) { file = there; });
    return equal(seen, repaired, why);
}

// --- Facts ---------------------------------------------------------------------------------------

void DurableFacts::touch_name(const std::string& name) {
    known_.erase(name);
    open_.insert(name);
}

void DurableFacts::touch_file(const Tree& tree, const std::string& name) {
    const auto found = tree.files.find(name);
    if (found == tree.files.end()) return touch_name(name);
    for (const auto& [other, file] : tree.files) {
        // Still there, but its content is open.
        if (file == found->second) touch_name(other);
    }
}

void DurableFacts::touch(const Tree& tree, const Change& change) {
    switch (change.kind) {
        case Change::Kind::make_own:
            return;
        case Change::Kind::rename:
        case Change::Kind::link:
            touch_name(change.target);
            if (change.kind == Change::Kind::rename) touch_name(change.name);
            return;
        case Change::Kind::create:
        case Change::Kind::make_directory:
        case Change::Kind::remove_directory:
        case Change::Kind::unlink:
            return touch_name(change.name);
        case Change::Kind::truncate:
        case Change::Kind::set_mode:
        case Change::Kind::set_colour:
        case Change::Kind::punch:
        case Change::Kind::write:
            return touch_file(tree, change.name);
    }
}

void DurableFacts::note_file(const Tree& tree, const std::string& name) {
    has_directory_ = true;
    const FileRef& synced = tree.files.at(name);
    for (const auto& [other, file] : tree.files) {
        if (file != synced) continue;
        known_[other] = file;
        open_.erase(other);
    }
}

void DurableFacts::note_all(const Tree& tree) {
    has_directory_ = others_are_absent_ = true;
    open_.clear();
    known_.clear();
    for (const auto& [name, file] : tree.files) known_[name] = file;
    for (const std::string& name : tree.directories) known_[name] = nullptr;
}

std::string DurableFacts::check(const Tree& seen) const {
    for (const auto& [name, file] : known_) {
        if (file == nullptr) {
            if (seen.directories.count(name) == 0) return name + "/ was synced and is gone";
            continue;
        }
        const auto found = seen.files.find(name);
        if (found == seen.files.end()) return name + " was synced and is gone";
        if (!(*found->second == *file)) {
            return name + " was synced and is another" + difference(*found->second, *file);
        }
    }
    if (!others_are_absent_) return {};
    for (const auto& [name, file] : seen.files) {
        if (known_.count(name) == 0 && open_.count(name) == 0) {
            return name + " had been removed, which was synced, and is back";
        }
    }
    return {};
}

}  // namespace gemel::sim

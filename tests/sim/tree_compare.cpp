// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/tree_compare.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kPage = 4096;

Inode* find_directory(FileSystem& disk, std::string_view path) {
    Inode* inode = &disk.root();
    while (!path.empty()) {
        const std::size_t start = path.find_first_not_of('/');
        if (start == path.npos) break;
        path.remove_prefix(start);
        const std::string_view name = path.substr(0, path.find('/'));
        path.remove_prefix(name.size());
        const Result<Inode*> next = disk.lookup(*inode, name);
        GEMEL_ASSERT(next.ok());
        inode = next.value();
    }
    return inode;
}

class Comparison {
   public:
    Comparison(FileSystem& left, FileSystem& right, const ExcludeList& exclude,
               std::size_t count_max)
        : left_(left), right_(right), exclude_(exclude), count_max_(count_max) {
        GEMEL_ASSERT(exclude.is_placeless());
    }

    void directories(Inode& left, Inode& right, const std::string& path) {
        const auto left_names = names(left_, left, path.empty());
        const auto right_names = names(right_, right, path.empty());
        for (const std::string& name : left_names) {
            if (right_names.count(name) == 0) differ(path + '/' + name, "only on the left");
        }
        for (const std::string& name : right_names) {
            if (left_names.count(name) == 0) {
                differ(path + '/' + name, "only on the right");
                continue;
            }
            objects(*left_.lookup(left, name).value(), *right_.lookup(right, name).value(),
                    path + '/' + name);
        }
    }

    std::vector<std::string> differences;

   private:
    using Names = std::set<std::string>;

    Names names(FileSystem& disk, Inode& directory, bool is_root) {
        std::vector<DirectoryEntry> entries;
        for (std::uint64_t position = 0;;) {
            const std::size_t before = entries.size();
            disk.list(directory, position, 1000, entries);
            if (entries.size() == before) break;
            position = entries.back().next;
        }
        Names result;
        for (const DirectoryEntry& entry : entries) {
            if (is_root && entry.name == ".gemel") continue;
            const bool is_directory =
                S_ISDIR(disk.stat(*disk.lookup(directory, entry.name).value()).mode);
            if (!exclude_.excludes({}, entry.name, is_directory)) result.insert(entry.name);
        }
        return result;
    }

    void differ(const std::string& path, const std::string& what) {
        if (differences.size() < count_max_) differences.push_back(path + ": " + what);
    }

    template <typename T>
    void same(const std::string& path, const char* what, const T& left, const T& right) {
        if (left == right) return;
        differ(path,
               std::string(what) + ": " + std::to_string(left) + " and " + std::to_string(right));
    }

    void objects(Inode& left, Inode& right, const std::string& path) {
        const FileStat a = left_.stat(left);
        const FileStat b = right_.stat(right);
        same(path, "mode", a.mode, b.mode);
        same(path, "uid", a.uid, b.uid);
        same(path, "gid", a.gid, b.gid);
        same(path, "modified", a.modified.seconds * 1'000'000'000 + a.modified.nanoseconds,
             b.modified.seconds * 1'000'000'000 + b.modified.nanoseconds);
        attributes(left, right, path);
        if ((a.mode & S_IFMT) != (b.mode & S_IFMT)) return;
        if (S_ISDIR(a.mode)) {
            directories(left, right, path);
            return;
        }
        same(path, "links", a.link_count, b.link_count);
        // The first name by which each object was met: equal pairs have equal hard links.
        const auto [first_left, new_left] = left_seen_.try_emplace(a.inode, path);
        const auto [first_right, new_right] = right_seen_.try_emplace(b.inode, path);
        if (first_left->second != first_right->second) differ(path, "linked differently");
        if (new_left && new_right && S_ISREG(a.mode)) contents(left, right, path);
    }

    void attributes(const Inode& left, const Inode& right, const std::string& path) {
        const auto kept = [](const Inode& inode) {
            std::map<std::string, ByteBuffer> result;
            if (inode.meta.xattrs == nullptr) return result;
            for (const auto& [name, value] : *inode.meta.xattrs) {
                if (!std::string_view(name).starts_with("trusted.gemel.")) result[name] = value;
            }
            return result;
        };
        if (kept(left) != kept(right)) differ(path, "extended attributes differ");
    }

    void contents(Inode& left, Inode& right, const std::string& path) {
        const std::uint64_t size = left_.stat(left).size;
        same(path, "size", size, right_.stat(right).size);
        ByteBuffer a(kPage), b(kPage);
        for (std::uint64_t offset = 0; offset < size; offset += kPage) {
            const auto read_left = left_.read(left, a, offset);
            const auto read_right = right_.read(right, b, offset);
            if (!read_left.ok() || !read_right.ok() || read_left.value() != read_right.value() ||
                !std::equal(a.begin(), a.begin() + static_cast<long>(read_left.value()),
                            b.begin())) {
                differ(path, "content differs at " + std::to_string(offset));
                return;
            }
        }
        same(path, "blocks", left_.stat(left).blocks_512, right_.stat(right).blocks_512);
    }

    FileSystem& left_;
    FileSystem& right_;
    const ExcludeList& exclude_;
    std::size_t count_max_;
    std::map<std::uint64_t, std::string> left_seen_, right_seen_;
};

}  // namespace

std::vector<std::string> compare_trees(FileSystem& left, std::string_view left_path,
                                       FileSystem& right, std::string_view right_path,
                                       const ExcludeList& exclude, std::size_t count_max) {
    Comparison comparison(left, right, exclude, count_max);
    comparison.directories(*find_directory(left, left_path), *find_directory(right, right_path),
                           "");
    return std::move(comparison.differences);
}

}  // namespace gemel::sim

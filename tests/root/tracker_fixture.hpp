// SPDX-License-Identifier: Apache-2.0
// A file system of its own in an image, what is in it at one moment, and whether a record of the
// change tracker covers the difference of two such moments. The process of the test is the owner
// whose changes are not recorded; foreign ones are made by children.
#pragma once

#include "ebpf/change_tracker.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace gemel {

// Mounts of this process are its own from here on. False: not root.
bool leave_mounts_alone();

// ext4, xfs or btrfs, mounted below a directory of the test's own until the end.
class ImageFileSystem {
   public:
    // Null: `why` says what is missing for it.
    static std::unique_ptr<ImageFileSystem> make(const std::string& type, std::string& why);
    ~ImageFileSystem();

    [[nodiscard]] const std::string& type() const noexcept { return type_; }
    // The directory that stands for a volume.
    [[nodiscard]] const std::string& root() const noexcept { return root_; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    void sync() const;
    bool unmount();
    bool mount();

   private:
    std::string type_, folder_, root_;
    int fd_ = -1;
};

// A file handle: names an inode for as long as it lives.
using ObjectKey = std::string;

// One object as it is: content by units of 64 KiB, everything else as one text.
struct ObjectImage {
    std::string path;  // of one of its names
    std::string attributes;
    std::vector<std::uint64_t> content;      // digests
    std::map<std::string, ObjectKey> names;  // of a directory
    bool is_directory = false;
};
using TreeImage = std::map<ObjectKey, ObjectImage>;

TreeImage image_of(const std::string& root);
ObjectKey key_of(const std::string& path);

// What the record says; objects that are gone are left out.
class Recorded {
   public:
    explicit Recorded(int file_system) noexcept : file_system_(file_system) {}
    void add(const ChangeRecord& record);
    // Sentences about every difference that is not covered.
    [[nodiscard]] std::vector<std::string> missing(const TreeImage& before,
                                                   const TreeImage& after) const;
    [[nodiscard]] bool is_incomplete() const noexcept { return incomplete_; }
    [[nodiscard]] const std::map<ObjectKey, ObjectChange>& objects() const noexcept {
        return objects_;
    }

   private:
    int file_system_;
    bool incomplete_ = false;
    std::map<ObjectKey, ObjectChange> objects_;
};

// Runs `change` in a child; false: it has failed.
bool as_stranger(const std::function<bool()>& change);

// One kind of change. `prepare` is carried out by the test itself, just before; what it wrote is
// not on the disk yet. `change` answers false where something went wrong.
struct ChangeCase {
    std::string name;
    std::function<bool(const std::string& root)> prepare;
    std::function<bool(const std::string& root)> change;
    std::string only_on;  // types, by spaces; empty: all
};
const std::vector<ChangeCase>& change_cases();
const ChangeCase& change_case(const std::string& name);

}  // namespace gemel

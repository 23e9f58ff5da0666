// SPDX-License-Identifier: Apache-2.0
// What a power cut may leave of a simulated file system: the fault contract of the disk.
//
// Memory is always what POSIX says; the disk lags behind it. Of what no sync has covered, any part
// may be on disk when the power goes, with these limits and no others:
//   pages     each 4 KiB page, by itself, is the old, the new, one in between, or a mix of
//             512-byte sectors of old and new; with the size on disk smaller, cut off there; with
//             the size on disk larger than the pages, holes (a name and a size without content);
//   size,     go together, by themselves: old, new or one in between. What a truncation or a
//   times     punched hole has removed comes back wholly or not at all;
//             (collapsing and inserting ranges syncs the file);
//   names     each operation (create, link, unlink, rename, exchange, ...) is atomic: done or not
//             done. One that rests on another (same name, same object, an entry in a new
//             directory, a directory that had to be empty) is done only if that one is;
//   mode,     one change after the other, in order for each object; an operation on a name of the
//   owner,    object is on disk only together with the changes of these made before it. (A file
//   xattrs    whose name survives has the mode and xattrs it had when it got that name.)
// So independent names may change out of order, which journaling file systems do not do, but
// nothing that was synced is ever lost, and no object has neither its old nor its new name.
//
//   sync(file)       its pages, size, times, mode, owner, xattrs; its names by chance (ext4 syncs
//                    them, POSIX does not ask it to), at times everything (a journal commit);
//   sync(directory)  all operations on its entries, and its own attributes;
//   sync_file_system everything.
// Objects without a name (O_TMPFILE, unlinked but open) do not survive.
//
// This class is the log of metadata operations that are not on disk yet, oldest first. Committing
// one forgets it; losing one at a power cut takes it back in memory, newest first.
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/sim/inode.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gemel::sim {

class FileSystem;

// One entry of one directory, before and after (inode numbers; 0: no entry).
struct NameChange {
    std::uint64_t directory = 0;
    std::string name;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
};

class MetaLog {
   public:
    explicit MetaLog(FileSystem& owner) noexcept : owner_(owner) {}

    // The changes have been made, together. Directories that got an entry rest on their own names.
    void add_names(std::vector<NameChange> changes) noexcept;
    // Before `inode`'s meta is changed.
    void add_meta(Inode& inode) noexcept;

    [[nodiscard]] bool empty() const noexcept { return ops_.empty(); }
    void commit_all() noexcept;
    // What sync() of the inode makes durable; `with_names`: the names that stand for it, too.
    void commit_inode(const Inode& inode, bool with_names) noexcept;
    void commit_directory(std::uint64_t directory) noexcept;
    // Some of it, as a kernel does after a while.
    void commit_some(Prng& prng) noexcept;
    // Takes back what did not reach the disk.
    void power_cut(Prng& prng) noexcept;

   private:
    struct Op {
        bool done = false;    // on disk
        bool wanted = false;  // while a set to commit is being put together
        std::vector<NameChange> names;
        std::uint64_t meta_inode = 0;  // or names
        InodeMeta meta_before;
        std::vector<std::uint64_t> rests_on;  // sequence numbers; those no longer here are on disk
    };

    [[nodiscard]] Op* find(std::uint64_t sequence) noexcept;
    Op& append() noexcept;
    void rest_on(Op& op, std::uint64_t sequence) noexcept;
    void rest_on_directory_chain(Op& op, std::uint64_t directory, bool whole_chain) noexcept;
    void rest_on_emptying(Op& op, std::uint64_t directory) noexcept;
    void want(std::uint64_t sequence) noexcept;
    void commit_wanted() noexcept;
    void settle(Op& op) noexcept;
    void drop_done() noexcept;
    void undo(Op& op) noexcept;
    template <typename Visit>
    static void for_each_inode(const Op& op, Visit&& visit);

    FileSystem& owner_;
    std::deque<Op> ops_;
    std::uint64_t first_sequence_ = 1;                               // of ops_.front()
    std::unordered_map<std::uint64_t, std::uint64_t> last_by_name_;  // hash of (directory, name)
    std::vector<std::uint64_t> stack_;
};

}  // namespace gemel::sim

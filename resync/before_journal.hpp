// SPDX-License-Identifier: Apache-2.0
// What objects of one directory volume were before a resync changed them: the file `journal` in
// `.gemel/before/`, append-only, and beside it a clone of each file's content, by hex id.
//
// A record is on the disk, and the clone with it, when append() returns; so whatever a crash has
// torn off its end belongs to an object that had not been changed.
//
// Format: a header (magic, version, volume id, checksum), then records: length of the two parts
// (u32 each), the parts, XXH3-64 of lengths and parts. The first part is the object's attributes,
// the second its listing if it is a directory, else empty, encoded as in resync/messages.hpp. Of a
// directory that was made since, the first is empty, and the second is its id.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/io/vfs.hpp"

#include <functional>

namespace gemel {

class BeforeJournal {
   public:
    // Removes what the directory holds and begins anew, durably.
    static Result<BeforeJournal> make(Vfs& vfs, ScopedFd directory, const Uuid& volume) noexcept;
    // not_found: there is none, or none of this volume. corrupt: its header is damaged.
    static Result<BeforeJournal> open(Vfs& vfs, ScopedFd directory, const Uuid& volume) noexcept;
    // The directory holds nothing that open() finds, durably; clones may remain.
    static Status invalidate(Vfs& vfs, Fd directory) noexcept;
    // Removes at most `count_max` clones. True: there are more.
    static Result<bool> remove_clones(Vfs& vfs, Fd directory, std::size_t count_max) noexcept;

    // Whether files can be cloned here: EOPNOTSUPP, EINVAL.
    Status probe_clones() noexcept;
    // `content`: of a regular file, cloned; else not open.
    Status append(Bytes attributes, Bytes listing, ObjectId object, Fd content) noexcept;
    // The directory is about to be made.
    Status append_made(ObjectId directory) noexcept;
    // Visits the records in order, until one is torn. An error of `saved` ends it.
    using Saved = std::function<Status(Bytes attributes, Bytes listing)>;
    using Made = std::function<void(ObjectId directory)>;
    Status read(const Saved& saved, const Made& made) noexcept;
    // The clone of that file's content.
    Result<ScopedFd> content(ObjectId object) noexcept;

   private:
    BeforeJournal(Vfs& vfs, ScopedFd directory, ScopedFd file) noexcept
        : vfs_(&vfs), directory_(std::move(directory)), file_(std::move(file)) {}

    Vfs* vfs_;
    ScopedFd directory_, file_;
    Status append_record(Bytes first, Bytes second) noexcept;

    std::uint64_t size_ = 0;  // where the next record goes
};

}  // namespace gemel

// SPDX-License-Identifier: Apache-2.0
// The way back from an object's id to its inode: for each tag a file of fixed records, the slot
// being the id's sequence, the record the inode's file handle. docs/on-disk.md.
//
// It is a cache of what the identity attributes say and never believed alone: whoever opens an
// inode by a record checks the inode's own attribute. Records are written without a sync; the index
// says after a crash of the machine that it may lack some, and is then written anew from the tree.
// Blocks without a record become holes, and files without a block go.
#pragma once

#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/vfs.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

class ObjectIndex {
   public:
    static constexpr std::size_t kRecordSize = 64;
    static constexpr std::size_t kBlockSize = 4096;
    static constexpr std::size_t kOpenFilesMax = 16;
    static constexpr std::size_t kCachedBlocksMax = 16;

    struct Record {
        FileHandle handle;
        std::uint32_t type = 0;  // S_IFMT bits: how to open it

        friend bool operator==(const Record&, const Record&) noexcept = default;
    };

    explicit ObjectIndex(Vfs& vfs) noexcept : vfs_(vfs) {}
    ~ObjectIndex();
    ObjectIndex(const ObjectIndex&) = delete;
    ObjectIndex& operator=(const ObjectIndex&) = delete;

    // Opens (makes) `directory`/index/<volume id>. `boot` is the running boot's id: an index left
    // open by another boot has crashed with it. The descriptor stays the caller's.
    Status open(Fd directory, const Uuid& volume, const Uuid& boot) noexcept;
    // True until mark_complete(): new, or not closed before the machine went down.
    [[nodiscard]] bool may_lack_records() const noexcept { return may_lack_records_; }
    // Forgets every record. Requires: may_lack_records().
    Status clear() noexcept;
    // Every object of the tree has been put. Durable together with a note that this boot uses it.
    Status mark_complete() noexcept;
    // Syncs all records and notes that they are complete. Waits for the disk.
    void close() noexcept;

    // A record was found damaged, so any other may be lacking: what there is is rebuilt, by this
    // run or, if it ends before mark_complete(), by the next open.
    Status distrust() noexcept;

    // not_found: no record. corrupt: a damaged one, which is none.
    Result<Record> find(ObjectId id) noexcept;
    // There is no record of it: not even a damaged one, and no error hides it.
    bool lacks(ObjectId id) noexcept;
    Status put(ObjectId id, const Record& record) noexcept;
    Status erase(ObjectId id) noexcept;

    // The directory of the index, for a sync of its file system.
    [[nodiscard]] Fd directory() const noexcept { return directory_; }

   private:
    struct TagFile {
        std::uint32_t tag = 0;
        Fd file;
        std::uint64_t last_use = 0;
    };
    // A block of records.
    struct Place {
        std::uint32_t tag = 0;
        std::uint64_t block = 0;

        friend bool operator==(const Place&, const Place&) noexcept = default;
    };
    // What stands on the file, zeros behind its end. Only this object writes the files.
    struct CachedBlock {
        Place place;
        bool valid = false;
        std::array<std::byte, kBlockSize> bytes;
    };
    static Place place_of(ObjectId id) noexcept {
        return {id.tag(), id.sequence() * kRecordSize / kBlockSize};
    }

    Result<Fd> file_of(std::uint32_t tag, bool create) noexcept;
    std::uint64_t seed_of(ObjectId id) const noexcept;
    void forget_file(std::uint32_t tag) noexcept;
    static std::size_t offset_in_block(ObjectId id) noexcept {
        return id.sequence() * kRecordSize % kBlockSize;
    }
    CachedBlock& cached(const Place& place) noexcept;
    Result<Bytes> read_record(Fd file, ObjectId id) noexcept;
    Status write_record(Fd file, ObjectId id, Bytes record) noexcept;
    // If no record is left in the block, or in the whole file, the disk gets it back, where it can
    // take it. Errors: the disk's.
    Status give_back(const Place& place) noexcept;
    Status give_back_leftovers(std::uint32_t tag) noexcept;
    Result<bool> is_empty(Fd file, const Place& place) noexcept;
    template <typename Visit>
    Status for_each_file(Visit&& visit) noexcept;
    Status write_state(std::uint8_t state) noexcept;
    Result<std::uint8_t> read_state(Uuid& boot) noexcept;
    void close_files() noexcept;

    Vfs& vfs_;
    Fd directory_;
    Fd state_file_;
    Uuid volume_;
    Uuid boot_;
    bool may_lack_records_ = true;
    std::uint64_t use_count_ = 0;
    Place last_put_;  // the next ids are likely to go there: it is left alone while it is empty
    std::vector<TagFile> files_;
    std::array<CachedBlock, kCachedBlocksMax> cache_;  // by block number
};

// 16 hexadecimal digits: the name of an object in `.gemel/`.
std::string hex_name(ObjectId id);
// 32 hexadecimal digits.
std::string hex_name(const Uuid& id);

}  // namespace gemel

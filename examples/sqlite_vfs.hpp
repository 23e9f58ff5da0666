// SPDX-License-Identifier: Apache-2.0
// An SQLite database and its rollback journal on one volume: a VFS ("gemel") whose files are ranges
// of it. Whatever SQLite believes to be on the disk when a transaction has been committed is on
// both machines, so the other one opens the database as after a crash of this one.
//
// The volume: two blocks of a header, written in turn, then the database, then, from the middle on,
// the journal. The header says how long both files are and whether the journal exists; removing the
// journal, which commits a transaction, is therefore one durable write of one block.
//
// A file's growth becomes part of the header at its sync, behind the data: before, as on any file
// system, it may be lost by a crash. Gaps are zeroed, so that nothing of older content shows.
#pragma once

#include "examples/blocking_volume.hpp"
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace examples {

// The two files; what SQLite sees of errors is up to the VFS.
class DatabaseFiles {
   public:
    enum File : std::size_t { database = 0, journal = 1 };

    // Requires: the volume outlives it and has at least 64 KiB.
    explicit DatabaseFiles(libgemel::Volume& volume) : volume_(volume) {}

    // Reads the header: before anything else, and whenever this node has begun to serve. An unknown
    // volume becomes an empty database.
    libgemel::Error open();

    [[nodiscard]] bool exists(File file) const { return header_.files[file].exists != 0; }
    [[nodiscard]] std::uint64_t size(File file) const { return header_.files[file].size; }
    // Bytes that it may have.
    [[nodiscard]] std::uint64_t capacity(File file) const;

    void create(File file);
    // Requires: inside size().
    libgemel::Error read(File file, std::uint64_t offset, std::span<std::byte> data);
    // Requires: inside capacity().
    libgemel::Error write(File file, std::uint64_t offset, std::span<const std::byte> data);
    libgemel::Error truncate(File file, std::uint64_t size);
    libgemel::Error sync();
    // Durable when it returns.
    libgemel::Error remove(File file);

   private:
    struct Header {
        std::uint64_t checksum;  // of what follows
        std::uint64_t magic;
        std::uint64_t sequence;  // the higher one of the two counts
        struct {
            std::uint64_t exists, size;
        } files[2];
    };
    static_assert(sizeof(Header) == 56);
    static constexpr std::size_t kBlock = 4096;
    static constexpr std::uint64_t kMagic = 0x67656d656c73716c;  // "gemelsql"

    static std::uint64_t checksum_of(const Header& header);
    [[nodiscard]] std::uint64_t begin_of(File file) const;
    libgemel::Error write_header();

    BlockingVolume volume_;
    Header header_{};
    bool header_changed_ = false;
};

// Registers the VFS under the name "gemel", for one database at a time: its path is of no meaning,
// its files are `files`. Files of other kinds (temporary ones) go to the default VFS. Called again,
// it is for the other `files` from there on. Requires: `files` outlives every connection.
int register_vfs(DatabaseFiles& files);

}  // namespace examples

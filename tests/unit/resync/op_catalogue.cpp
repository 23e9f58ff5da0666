// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/resync/op_catalogue.hpp"

#include <array>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

namespace gemel::resync_test {

void OpCatalogueTest::begin_joined() {
    exclude_ = {"*.tmp"};
    begin(31);
    connect();
    ASSERT_TRUE(finish());
    join();
    directory_ = make_dir(kRootObject, "d");
}

ObjectId OpCatalogueTest::file(std::string_view content) {
    return make_file(directory_, fresh(), content);
}

ObjectId OpCatalogueTest::nameless() { return create(directory_, "", S_IFREG | 0600); }

std::string OpCatalogueTest::excluded() {
    const std::string name = fresh() + ".tmp";
    make_file(directory_, name, std::string(300'000, 'p'));
    return name;
}

std::unique_ptr<TestOp> OpCatalogueTest::about(OpKind kind, ObjectId object) {
    auto op = std::make_unique<TestOp>();
    op->op.kind = kind;
    op->op.object = object;
    return op;
}

std::unique_ptr<TestOp> OpCatalogueTest::named(OpKind kind, const std::string& name) const {
    auto op = std::make_unique<TestOp>();
    op->op.kind = kind;
    op->op.parent = directory_;
    op->name = name;
    return op;
}

std::unique_ptr<TestOp> OpCatalogueTest::moved(const std::string& from, const std::string& to,
                                               std::uint32_t flags) {
    auto op = make_rename(directory_, from, directory_, to);
    op->op.flags = flags;
    return op;
}

std::unique_ptr<TestOp> OpCatalogueTest::made(std::uint32_t mode, const std::string& name) const {
    auto op = named(OpKind::create, name);
    op->op.mode = mode;
    if (S_ISLNK(mode)) op->data = "target";
    return op;
}

std::unique_ptr<TestOp> OpCatalogueTest::linked(ObjectId object, const std::string& name) const {
    auto op = named(OpKind::link, name);
    op->op.object = object;
    return op;
}

std::unique_ptr<TestOp> OpCatalogueTest::written(std::uint64_t offset, std::size_t size) {
    auto op = about(OpKind::write, file(std::string(70'000, 'o')));
    op->op.offset = offset;
    op->op.size = size;
    op->op.clear_set_id = true;
    op->data.assign(size, 'n');
    return op;
}

std::unique_ptr<TestOp> OpCatalogueTest::replacing(bool in_use) {
    file();
    const std::string from = last_name();
    file();
    auto op = moved(from, last_name());
    op->op.object_in_use = in_use;
    return op;
}

std::vector<OpCatalogueTest::CatalogueOp> OpCatalogueTest::content_ops() {
    std::vector<CatalogueOp> ops;
    ops.push_back({"write", [this] { return written(10, 50'000); }});
    ops.push_back({"large write", [this] { return written(60'000, 500'000); }});
    for (const std::uint64_t size : {std::uint64_t{5}, std::uint64_t{300'000}}) {
        ops.push_back({"truncate to " + std::to_string(size), [this, size] {
                           auto op = about(OpKind::truncate, file(std::string(70'000, 'o')));
                           op->op.size = size;
                           return op;
                       }});
    }
    for (const std::uint32_t mode :
         std::array<std::uint32_t, 4>{0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}) {
        ops.push_back({"allocate " + std::to_string(mode), [this, mode] {
                           auto op = about(OpKind::allocate, file(std::string(70'000, 'o')));
                           op->op.flags = mode;
                           op->op.offset = 5000;
                           op->op.size = 100'000;
                           return op;
                       }});
    }
    ops.push_back({"copy", [this] {
                       auto op = about(OpKind::copy_range, file(std::string(70'000, 'o')));
                       op->op.source = file(std::string(90'000, 's'));
                       op->op.offset = 10'000;
                       op->op.size = 80'000;
                       return op;
                   }});
    return ops;
}

std::vector<OpCatalogueTest::CatalogueOp> OpCatalogueTest::new_object_ops() {
    std::vector<CatalogueOp> ops;
    for (const std::uint32_t type :
         std::array<std::uint32_t, 4>{S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO}) {
        for (const std::uint32_t gid : {0U, 7U}) {
            ops.push_back({"create " + std::to_string(type), [this, type, gid] {
                               auto op = made(type | 04750U, fresh());
                               op->op.gid = gid;
                               return op;
                           }});
        }
    }
    ops.push_back({"nameless", [this] { return made(S_IFREG | 0600, ""); }});
    ops.push_back(
        {"create excluded", [this] { return made(S_IFREG | 0600, fresh() + ".tmp"); }, false});
    return ops;
}

std::vector<OpCatalogueTest::CatalogueOp> OpCatalogueTest::name_ops() {
    std::vector<CatalogueOp> ops;
    ops.push_back({"link", [this] {
                       const ObjectId object = file();
                       return linked(object, fresh());
                   }});
    ops.push_back({"link of a nameless file", [this] { return linked(nameless(), fresh()); }});
    ops.push_back(
        {"nameless, excluded", [this] { return linked(nameless(), fresh() + ".tmp"); }, false});
    for (const bool in_use : {false, true}) {
        ops.push_back({in_use ? "unlink in use" : "unlink", [this, in_use] {
                           file();
                           auto op = named(OpKind::unlink, last_name());
                           op->op.object_in_use = in_use;
                           return op;
                       }});
        ops.push_back({in_use ? "rename over a file in use" : "rename over a file",
                       [this, in_use] { return replacing(in_use); }});
    }
    ops.push_back({"rmdir", [this] {
                       const std::string name = fresh();
                       make_dir(directory_, name);
                       return named(OpKind::remove_directory, name);
                   }});
    ops.push_back({"rename", [this] {
                       file();
                       const std::string from = last_name();
                       return moved(from, fresh());
                   }});
    ops.push_back({"exchange", [this] {
                       auto op = replacing(false);
                       op->op.flags = RENAME_EXCHANGE;
                       return op;
                   }});
    ops.push_back({"rename over a directory", [this] {
                       const std::string from = fresh(), to = fresh();
                       make_dir(directory_, from);
                       make_dir(directory_, to);
                       return moved(from, to);
                   }});
    ops.push_back({"release", [this] { return about(OpKind::release_orphan, nameless()); }});
    return ops;
}

std::vector<OpCatalogueTest::CatalogueOp> OpCatalogueTest::publication_ops() {
    std::vector<CatalogueOp> ops;
    ops.push_back({"publish", [this] {
                       const std::string from = excluded();
                       return moved(from, fresh());
                   }});
    ops.push_back({"publish over", [this] {
                       file();
                       const std::string to = last_name();
                       return moved(excluded(), to);
                   }});
    ops.push_back({"withdraw", [this] {
                       file();
                       const std::string from = last_name();
                       return moved(from, fresh() + ".tmp");
                   }});
    ops.push_back({"withdraw over", [this] {
                       const std::string to = excluded();
                       file();
                       return moved(last_name(), to);
                   }});
    ops.push_back({"rename excluded",
                   [this] {
                       const std::string from = excluded();
                       return moved(from, fresh() + ".tmp");
                   },
                   false});
    ops.push_back({"unlink excluded", [this] { return named(OpKind::unlink, excluded()); }, false});
    return ops;
}

std::vector<OpCatalogueTest::CatalogueOp> OpCatalogueTest::attribute_ops() {
    std::vector<CatalogueOp> ops;
    ops.push_back({"attributes", [this] {
                       auto op = about(OpKind::set_attributes, file());
                       op->op.mask = kSetMode | kSetOwner | kSetAccessed | kSetModified;
                       op->op.mode = 0751;
                       op->op.uid = op->op.gid = 5;
                       op->op.accessed = op->op.modified = {77, 7};
                       return op;
                   }});
    ops.push_back({"owner of a set-id program", [this] {
                       const ObjectId object = create(directory_, fresh(), S_IFREG | 06755);
                       auto op = about(OpKind::set_attributes, object);
                       op->op.mask = kSetOwner;
                       op->op.uid = 5;
                       return op;
                   }});
    ops.push_back({"xattr", [this] {
                       auto op = about(OpKind::set_xattr, file());
                       op->name = "user.x";
                       op->data = "value";
                       return op;
                   }});
    ops.push_back({"no xattr", [this] {
                       const ObjectId object = file();
                       set_xattr(object, "user.x", "value");
                       auto op = about(OpKind::remove_xattr, object);
                       op->name = "user.x";
                       return op;
                   }});
    return ops;
}

std::vector<OpCatalogueTest::CatalogueOp> OpCatalogueTest::all_ops() {
    std::vector<CatalogueOp> all;
    for (auto part :
         {content_ops(), new_object_ops(), name_ops(), publication_ops(), attribute_ops()}) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

}  // namespace gemel::resync_test

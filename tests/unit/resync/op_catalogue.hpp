// SPDX-License-Identifier: Apache-2.0
// One op of each kind, prepared anew as often as a test wants it: for tests that interrupt it at
// each of its steps.
#pragma once

#include "tests/unit/resync/resync_fixture.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel::resync_test {

class OpCatalogueTest : public ResyncTest {
   protected:
    struct CatalogueOp {
        std::string what;
        // Makes what the op is about by ops of its own.
        std::function<std::unique_ptr<TestOp>()> prepare;
        // False: it is about excluded names alone, and a mirrored directory's time is put back.
        bool is_mirrored = true;
    };

    // A pair in sync, with `*.tmp` excluded and a directory for the ops.
    void begin_joined();
    // Requires, for prepare: begin_joined().
    std::vector<CatalogueOp> content_ops();
    std::vector<CatalogueOp> new_object_ops();
    std::vector<CatalogueOp> name_ops();
    std::vector<CatalogueOp> publication_ops();
    std::vector<CatalogueOp> attribute_ops();
    std::vector<CatalogueOp> all_ops();

    static std::unique_ptr<TestOp> about(OpKind kind, ObjectId object);
    // A new file in the directory.
    ObjectId file(std::string_view content = "content");

    ObjectId directory_;

   private:
    std::string fresh() { return "n" + std::to_string(next_name_++); }
    [[nodiscard]] std::string last_name() const { return "n" + std::to_string(next_name_ - 1); }
    ObjectId nameless();
    std::string excluded();
    std::unique_ptr<TestOp> named(OpKind kind, const std::string& name) const;
    std::unique_ptr<TestOp> moved(const std::string& from, const std::string& to,
                                  std::uint32_t flags = 0);
    std::unique_ptr<TestOp> made(std::uint32_t mode, const std::string& name) const;
    std::unique_ptr<TestOp> linked(ObjectId object, const std::string& name) const;
    std::unique_ptr<TestOp> written(std::uint64_t offset, std::size_t size);
    std::unique_ptr<TestOp> replacing(bool in_use);

    std::uint64_t next_name_ = 0;
};

}  // namespace gemel::resync_test

#include "app/inspect/inspect.h"

#include <cmath>
#include <sstream>

#include "base/durable_file.h"
#include "checkpoint/checkpoint_fixture.h"
#include "corpus/tokenizer.h"

namespace ssmax::app {
namespace {

using checkpoint::TinyRun;
using support::read_all;
using support::write_all;
namespace fs = std::filesystem;

/// What was printed, and the error that followed it.
struct Inspected {
  std::string text;
  std::optional<base::Error> error;
};

Inspected inspected(const fs::path& path, const std::string& tokenizer = "") {
  std::ostringstream out;
  Inspected result;
  try {
    inspect(out, path, tokenizer);
  } catch (const base::Error& error) {
    result.error = error;
  }
  result.text = out.str();
  return result;
}

testing::AssertionResult shows(const Inspected& result, std::string_view part) {
  if (result.text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no \"" << part << "\" in\n" << result.text;
}

class InspectTest : public testing::Test {
 protected:
  void SetUp() override {
    const checkpoint::CheckpointStore store(run_.path(), 2);
    store.prepare(0);
    store.save(tiny_.manifest(10), tiny_.files());
    store.save(tiny_.manifest(20), tiny_.files());
    write_all(run_.path() / "config.json", R"({"model": {"normalizer": {"kind": "ssmax"}}})");
    write_all(run_.path() / "metrics.jsonl",
              "{\"event\":\"step\",\"step\":1,\"loss\":5.5}\n"
              "{\"event\":\"step\",\"step\":2,\"loss\":5.25}\n"
              "{\"event\":\"validation\",\"step\":2,\"loss\":5.125}\n"
              "{\"event\":\"st");
  }
  fs::path step(const char* name) const { return run_.path() / "checkpoints" / name; }

  support::TemporaryFolder run_;
  TinyRun tiny_;
};

TEST_F(InspectTest, safetensors) {
  std::array<float, 4> values = {-2.0F, 1.0F, 1.0F, NAN};
  const fs::path path = run_.path() / "a.safetensors";
  checkpoint::write_safetensors(
      path, std::vector<checkpoint::NamedTensor>{{"x", device::view(values.data(), {2, 2})}},
      {{"made by", "test"}});
  const Inspected result = inspected(path);
  EXPECT_FALSE(result.error);
  EXPECT_TRUE(shows(result, "1 tensors, 4 elements"));
  // min, max, mean and rms of -2, 1, 1; one that is not finite.
  EXPECT_TRUE(shows(result, "x       F32    (2, 2)   -2    1     0  1.41421           1"));
  EXPECT_TRUE(shows(result, "made by   test"));
}

TEST_F(InspectTest, checkpoint) {
  const Inspected result = inspected(step("step_00000020"));
  EXPECT_FALSE(result.error);
  EXPECT_TRUE(shows(result, "step_00000020: checkpoint"));
  EXPECT_TRUE(shows(result, "tokens               1280"));
  EXPECT_TRUE(shows(result, "state cooldown       3"));
  EXPECT_TRUE(shows(result, "first_moment.model.norm.weight"));
  EXPECT_TRUE(shows(inspected(step("step_00000020") / "manifest.json"), "checkpoint"));
}

TEST_F(InspectTest, a_damaged_checkpoint_is_shown_and_an_error) {
  const fs::path path = step("step_00000020") / "model.safetensors";
  std::string bytes = read_all(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_all(path, bytes);
  Inspected result = inspected(step("step_00000020"));
  EXPECT_TRUE(shows(result, "DAMAGED"));
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->kind(), base::ErrorKind::checkpoint);
  EXPECT_NE(std::string(result.error->what()).find(path.string()), std::string::npos);
  result = inspected(run_.path());
  EXPECT_TRUE(shows(result, "step_00000010    10     640"));
  EXPECT_TRUE(shows(result, "DAMAGED"));
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->kind(), base::ErrorKind::checkpoint);
}

TEST_F(InspectTest, run) {
  const Inspected result = inspected(run_.path());
  EXPECT_FALSE(result.error) << result.error->what();
  EXPECT_TRUE(shows(result, "valid"));
  EXPECT_TRUE(shows(result, "model.normalizer.kind  \"ssmax\""));
  EXPECT_TRUE(shows(result, "4 lines, the last one cut"));
  EXPECT_TRUE(shows(result, "step            2  step=2  loss=5.25\n"));
  EXPECT_TRUE(shows(result, "validation      1  step=2  loss=5.125\n"));
}

TEST_F(InspectTest, hugging_face_folder_that_import_refuses) {
  const fs::path folder = run_.path() / "foreign";
  fs::create_directory(folder);
  write_all(folder / "config.json", R"({"architectures": ["MambaForCausalLM"]})");
  const Inspected result = inspected(folder);
  EXPECT_TRUE(shows(result, "foreign: Hugging Face model, MambaForCausalLM\n"));
  EXPECT_TRUE(shows(result, "in this program: not, ssmax import refuses it: "));
  ASSERT_TRUE(result.error) << "there are no weights";
  EXPECT_NE(std::string(result.error->what()).find("model.safetensors"), std::string::npos);
}

TEST_F(InspectTest, metrics_damaged_in_the_middle) {
  const fs::path path = run_.path() / "metrics.jsonl";
  write_all(path, "{\"event\":\"st\n{\"event\":\"step\",\"step\":1}\n");
  const Inspected result = inspected(path);
  ASSERT_TRUE(result.error);
  EXPECT_NE(std::string(result.error->what()).find("metrics.jsonl:1"), std::string::npos)
      << result.error->what();
}

TEST_F(InspectTest, the_folder_of_checkpoints_is_its_run) {
  for (const fs::path& path : {run_.path() / "checkpoints", run_.path() / "checkpoints" / ""}) {
    EXPECT_TRUE(shows(inspected(path), "step_00000010    10     640"));
  }
}

TEST_F(InspectTest, json_lines) {
  const fs::path path = run_.path() / "examples.jsonl";
  write_all(path,
            "{\"prompt\": \"a\", \"completion\": \"b\"}\n\n"
            "{\"prompt\": \"c\", \"completion\": \"d\", \"more\": 1}\n");
  Inspected result = inspected(path);
  EXPECT_FALSE(result.error) << result.error->what();
  EXPECT_TRUE(shows(result, "JSON Lines, 2 lines, examples for data.kind=supervised"));
  EXPECT_TRUE(shows(result, "completion      2  \"b\""));
  EXPECT_TRUE(shows(result, "more            1  1"));
  write_all(path, "{\"text\": \"a\"}\n{\"te");
  result = inspected(path);
  ASSERT_TRUE(result.error);
  EXPECT_NE(std::string(result.error->what()).find("examples.jsonl:2"), std::string::npos);
}

TEST_F(InspectTest, log) {
  write_all(run_.path() / "log.txt",
            "2026-11-26 09:56:29.998 I done\n2026-11-26 09:56:30.733 W the disk is slow\n");
  const Inspected result = inspected(run_.path() / "log.txt");
  EXPECT_TRUE(shows(result, "log, 2 lines, 1 of them warnings and errors\n"));
  EXPECT_TRUE(shows(result, "09:56:30.733 W the disk is slow"));
}

TEST_F(InspectTest, tensorboard_events) {
  const fs::path path = run_.path() / "events.out.tfevents.1.host.2";
  const std::string two("\3\0\0\0\0\0\0\0crc.abccrc.\0\0\0\0\0\0\0\0crc.crc.", 35);
  write_all(path, two);
  EXPECT_TRUE(shows(inspected(path), "TensorBoard events, 2 of them; shown by tensorboard"));
  write_all(path, two.substr(0, 34));
  EXPECT_TRUE(shows(inspected(path), "TensorBoard events, 1 of them, the last one cut;"));
}

TEST_F(InspectTest, tokenizer) {
  corpus::Vocabulary vocabulary = corpus::Tokenizer::byte_level().vocabulary();
  vocabulary.tokens.push_back("hi");
  vocabulary.merges.push_back({'h', 'i', 257});
  const corpus::Tokenizer tokenizer(vocabulary);
  tokenizer.write_json(run_.path() / "tokenizer.json");
  const Inspected result = inspected(run_.path() / "tokenizer.json");
  EXPECT_FALSE(result.error) << result.error->what();
  EXPECT_TRUE(shows(result, "byte-level BPE, 258 tokens in the vocabulary, 1 merges"));
  EXPECT_TRUE(shows(result, "257  \"hi\""));
  tokenizer.save(run_.path() / "made");
  for (const char* name : {"made", "made/merges.txt"}) {
    EXPECT_TRUE(shows(inspected(run_.path() / name), "258 tokens in the vocabulary, 1 merges"));
  }
}

TEST_F(InspectTest, token_shard) {
  const fs::path path = run_.path() / "a.bin";
  std::array<std::int32_t, 256> header = {20240520, 1, 3};
  std::string bytes(reinterpret_cast<const char*>(header.data()), sizeof(header));
  for (const std::uint16_t id : std::to_array<std::uint16_t>({104, 105, 256})) {
    bytes.append(reinterpret_cast<const char*>(&id), sizeof(id));
  }
  write_all(path, bytes);
  const Inspected result = inspected(path, "bytes");
  EXPECT_FALSE(result.error) << result.error->what();
  EXPECT_TRUE(shows(result, "token shard, uint16, 3 tokens"));
  EXPECT_TRUE(shows(result, "greatest id: 256"));
  EXPECT_TRUE(shows(result, "first tokens: 104 105 256\n"));
  EXPECT_TRUE(shows(result, "as text: \"hi<|endoftext|>\""));
}

TEST_F(InspectTest, one_line_files) {
  EXPECT_TRUE(shows(inspected(step("latest")),
                    "the newest checkpoint when it was written: step_00000020\n"));
  write_all(run_.path() / "run.lock", "process 7 on host since noon\n");
  EXPECT_TRUE(shows(inspected(run_.path() / "run.lock"), ": process 7 on host since noon\n"));
}

TEST_F(InspectTest, says_what_it_cannot_show) {
  fs::create_directory(run_.path() / "empty");
  write_all(run_.path() / "note.doc", "");
  for (const fs::path& path :
       {run_.path() / "absent", run_.path() / "note.doc", run_.path() / "empty"}) {
    const Inspected result = inspected(path);
    ASSERT_TRUE(result.error) << path;
    EXPECT_EQ(result.error->kind(), base::ErrorKind::usage) << result.error->what();
    EXPECT_NE(std::string(result.error->what()).find(path.string()), std::string::npos);
  }
}

}  // namespace
}  // namespace ssmax::app

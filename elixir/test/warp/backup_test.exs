defmodule Warp.BackupTest do
  use ExUnit.Case, async: true
  alias Account.Deposited
  alias Warp.Backup

  setup do
    dir = Path.join(System.tmp_dir!(), "warp-backup-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    File.mkdir_p!(dir)
    key = Path.join(dir, "master.key")
    File.write!(key, Base.encode16(:crypto.strong_rand_bytes(32)))
    File.chmod!(key, 0o600)
    [dir: dir, to: Path.join(dir, "backup"), key: {:file, key}]
  end

  defp start(data_dir, name) do
    {:ok, bank} = Warp.start(context: name, data_dir: data_dir, shards: 2, aggregates: [Account])
    on_exit(fn -> Warp.stop(bank) end)
    bank
  end

  test "old segments are merged", %{dir: dir, to: to, key: key} do
    bank = start(dir, "merged")
    alice = Warp.entity(bank, "alice")

    for amount <- 1..3 do
      Warp.append!(alice, %Deposited{amount: amount})
      assert {:ok, %{cut: ^amount, merged: 0}} = Backup.run(bank, to: to, master_key: key, keep: %{cuts: 3})
    end

    assert {:error, {:missing_option, :keep}} = Backup.merge(bank, to: to, master_key: key)
    assert {:error, {:bad_option, :keep, _}} = Backup.merge(bank, to: to, master_key: key, keep: %{cuts: 0})
    assert {:ok, %{cut: 3, merged: 2}} = Backup.merge(bank, to: to, master_key: key, keep: %{cuts: 2, age: 1})
    assert {:ok, [%{cut: 2, segments: 1}, %{cut: 3}]} = Backup.list(to)
  end

  test "a context is restored as it was at a cut, without what was deleted", %{dir: dir, to: to, key: key} do
    bank = start(dir, "cuts")
    [alice, bob] = for id <- ["alice", "bob"], do: Warp.entity(bank, id)
    Warp.append!(alice, %Deposited{amount: 5})
    Warp.append!(bob, %Deposited{amount: 7})
    me = self()

    assert {:ok, %{cut: 1, rows: 2, events: 2}} =
             Backup.run(bank, to: to, master_key: key, progress: &send(me, {:stored, &1.segments}))

    assert_received {:stored, 1}
    Warp.append!(alice, %Deposited{amount: 1})
    assert {:ok, %{backups: [%{to: ^to, cut: 2}]}} = Warp.delete(bob, receipt: true)
    :ok = Warp.stop(bank)

    assert {:ok, [%{cut: 1, at: first}, %{cut: 2, segments: 2, at: last}]} = Backup.list(to)
    assert last > first

    for {until, name, balance} <- [
          {{:cut, 1}, "one", 5},
          {{:time, DateTime.from_unix!(first, :microsecond)}, "two", 5},
          {{:time, last}, "three", 6},
          {:end, "four", 6}
        ] do
      data_dir = Path.join(dir, name)

      assert {:ok, %{context: "cuts", shards: 2, erased: 1}} =
               Backup.restore(data_dir, from: to, master_key: key, until: until)

      restored = start(data_dir, "cuts")
      assert {:ok, %Account{balance: ^balance}} = Warp.get(Warp.entity(restored, "alice"), Account)
      assert {:ok, []} = Warp.history(Warp.entity(restored, "bob"))
      :ok = Warp.stop(restored)
    end

    assert {:ok, %{segments: 2, cuts: 2} = report} = Backup.verify(to)
    refute is_map_key(report, :events)
    assert {:ok, %{events: 2, erased: 1}} = Backup.verify(to, master_key: key)
  end

  test "backups go on until they are stopped and forgotten", %{dir: dir, to: to, key: key} do
    bank = start(dir, "going-on")
    alice = Warp.entity(bank, "alice")
    assert {:error, :not_started} = Backup.stop(bank, to)
    Warp.append!(alice, %Deposited{amount: 5})
    assert {:ok, %{cut: 1}} = Backup.start(bank, to: to, master_key: key, every: 1000)
    assert %{backups: [%{to: ^to, every: 1000, cut: 1, failing: :none}]} = Warp.stats(bank)
    assert :ok = Backup.stop(bank, to)
    :ok = Warp.stop(bank)

    bank = start(dir, "going-on")
    alice = Warp.entity(bank, "alice")
    assert {:error, {:still_to_erase, %{target: :backup, reason: {^to, :not_started}}} = reason} = Warp.delete(alice)
    assert Warp.format_error(reason) =~ "the backup in #{to}"
    assert :ok = Backup.forget(bank, to)
    assert :ok = Warp.delete(alice)
    assert {:error, :not_started} = Backup.forget(bank, to)
  end

  test "keys are kept elsewhere, and a service wraps the key", %{dir: dir, to: to} do
    bank = start(dir, "keys")
    Warp.append!(Warp.entity(bank, "alice"), %Deposited{amount: 5})
    System.put_env("WARP_BACKUP_TEST", Base.encode16(:crypto.strong_rand_bytes(32)))
    keys = Path.join(dir, "keys")
    options = [master_key: {:env, "WARP_BACKUP_TEST"}]
    assert {:ok, %{cut: 1}} = Backup.run(bank, [to: to, keys_to: keys] ++ options)
    assert {:error, :no_keys} = Backup.verify(to, options)
    assert {:error, :no_keys} = Backup.check(to)
    assert {:ok, %{cut: 1, older: []}} = Backup.check(to, keys_from: keys)
    alone = [from: to, keys_from: keys, entity: "bob"] ++ options
    assert {:ok, %{events: 0}} = Backup.restore(Path.join(dir, "alone"), alone)
    assert {:ok, %{events: 1}} = Backup.verify(to, [keys_from: keys] ++ options)

    secret = :crypto.strong_rand_bytes(32)
    wrap = &{:ok, :crypto.exor(&1, secret)}
    service = %{name: "service", wrap: wrap, unwrap: wrap}
    assert {:ok, %{cut: 1}} = Backup.run(bank, to: to <> "-2", master_key: service)
    assert {:ok, %{events: 1}} = Backup.verify(to <> "-2", master_key: service)
    locked = %{service | unwrap: fn _ -> {:error, :locked} end}
    assert {:error, {:master_key_refused, :locked}} = Backup.verify(to <> "-2", master_key: locked)
  end

  test "what is wrong is said", %{dir: dir, to: to, key: key} do
    bank = start(dir, "wrong")
    assert {:error, {:missing_option, :to}} = Backup.run(bank, master_key: key)
    assert {:error, {:missing_option, :to}} = Backup.start(bank, master_key: key)
    assert {:error, {:missing_option, :master_key}} = Backup.run(bank, to: to)
    assert {:error, {:missing_option, :from}} = Backup.restore(dir, master_key: key)
    assert {:error, {:unknown_option, :often}} = Backup.run(bank, to: to, master_key: key, often: true)
    assert {:error, {:bad_option, :every, _}} = Backup.start(bank, to: to, master_key: key, every: 10)
    assert {:error, {:bad_option, :options, :not_a_map}} = Backup.run(bank, [:to])
    assert {:error, {:bad_option, :until, :not_a_cut}} = Backup.verify(to, until: 7)
    assert {:error, {:no_master_key, _}} = Backup.run(bank, to: to, master_key: {:env, "WARP_NO_SUCH_KEY"})
    assert {:error, :no_backup = reason} = Backup.list(to)
    assert Warp.format_error(reason) =~ "There is no backup at that place."
  end
end

defmodule Warp.Backup do
  @moduledoc """
  Backups of a context, in which a deleted entity is dead data: each life of an entity is sealed with a key of its own,
  and deleting the entity destroys that key, also in the backups that were made before.

  A backup is kept in a folder, which may be one of another machine that is mounted, or in a bucket: see
  `t:target/0`. It is made of segments, which never change, and of key pages, which each run replaces. Each run adds a
  cut: the state of the whole context between two commits. Who loses the master key, or the key pages, can restore
  nothing. In a cluster one node makes the run for all, and only that node needs the folder and the master key.
  `docs/backups.md` says how to set backups up, and how to restore.

      iex> {:ok, bank} = Warp.context("bank")
      iex> dir = Path.join(System.tmp_dir!(), "warp-backup-#{System.unique_integer([:positive])}")
      iex> File.mkdir_p!(dir)
      iex> key = Path.join(dir, "master.key")
      iex> File.write!(key, Base.encode16(:crypto.strong_rand_bytes(32)))
      iex> File.chmod!(key, 0o600)
      iex> backup = Path.join(dir, "backup")
      iex> {:ok, %{cut: 1}} = Warp.Backup.start(bank, to: backup, master_key: {:file, key}, every: 60_000)
      iex> {:ok, [%{cut: 1, segments: 1}]} = Warp.Backup.list(backup)
      iex> {:ok, %{context: "bank", cut: 1}} =
      ...>   Warp.Backup.restore(Path.join(dir, "restored"), from: backup, master_key: {:file, key})
      iex> Warp.Backup.stop(bank, backup)
      :ok
      iex> Warp.Backup.forget(bank, backup)
      :ok
      iex> File.rm_rf!(dir)

  Every function checks its options first (`{:error, {:bad_option, name, why}}`), and can give
  `{:error, {:unreachable, why}}`, `{:error, {:io_error, message}}` and `{:error, {:backup_damaged, message}}`, with a
  bucket also `{:error, {:storage_refused, message}}` and `{:error, {:no_store_program, message}}`; those
  with a context also `{:error, :context_stopped}` and `{:error, :interrupted}`.
  """

  alias Warp.Options

  @typedoc """
  Where a backup is: the path of a folder; or a bucket of S3-compatible storage, as `"s3://BUCKET/PREFIX"`, behind which
  `"?endpoint=...&region=..."` can stand, or as a map:

    * `:s3` - the bucket, which has to be there, and `:prefix`, what the names of all objects begin with.
    * `:endpoint` - the address of the storage. The default is AWS, or what `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`
      of the environment says.
    * `:region` - the default is `AWS_REGION` or `AWS_DEFAULT_REGION` of the environment, or `"us-east-1"`.
    * `:access_key_id`, `:secret_access_key`, `:session_token` - `{:env, name}`, the variables that have the keys. The
      defaults are those of AWS, such as `AWS_ACCESS_KEY_ID`.
    * `:timeout` (120000) - how many milliseconds a request to the storage may take.
  """
  @type target ::
          Path.t()
          | %{
              required(:s3) => String.t(),
              optional(:prefix) => String.t(),
              optional(:endpoint) => String.t(),
              optional(:region) => String.t(),
              optional(:access_key_id) => {:env, String.t()},
              optional(:secret_access_key) => {:env, String.t()},
              optional(:session_token) => {:env, String.t()},
              optional(:timeout) => pos_integer
            }
  @typedoc """
  The master key, which wraps the key of a backup: a file with 64 hexadecimal digits, such as `openssl rand -hex 32`
  prints, that only its owner may read; a variable of the environment with such digits; or functions that have a
  service for keys wrap and unwrap 32 bytes, with a name that stands in the backup. Warp reads the key when it needs it,
  and does not keep it.
  """
  @type master_key ::
          {:file, Path.t()}
          | {:env, String.t()}
          | %{
              name: String.t(),
              wrap: (binary -> {:ok, binary} | {:error, term}),
              unwrap: (binary -> {:ok, binary} | {:error, term})
            }
  @typedoc """
  What a run has stored: nothing where nothing has changed since the last cut, whose number it has then. The backup has
  everything up to `at`, in microseconds since 1970.
  """
  @type report :: %{
          cut: non_neg_integer,
          at: integer,
          segments: non_neg_integer,
          key_pages: non_neg_integer,
          rows: non_neg_integer,
          events: non_neg_integer,
          bytes: non_neg_integer,
          merged: non_neg_integer
        }
  @typedoc "A cut, with how many segments and bytes there are up to it."
  @type cut :: %{cut: pos_integer, at: integer, segments: pos_integer, bytes: pos_integer}

  @doc """
  Backs a context up once. Only what is new since the last run is read and stored. A run that was interrupted is made
  again.

    * `:to` - where the backup is, see `t:target/0`. Each context has a place of its own. A folder is made when it is
      not there.
    * `:master_key` - see `t:master_key/0`.
    * `:keys_to` - another place for the key pages: who has only one of the two can read nothing.
    * `:keep` - which cuts are kept: `:all`; `%{cuts: n}`, the last so many; or `%{age: milliseconds}`, all that are
      needed to restore any time since then. A map with both keeps what either of them does. Some segments up to the
      oldest of these cuts may be merged then. The default is what `start/2` was called with.
    * `:progress` - a function that is called with the report so far after each object that was stored.

  Errors: `{:no_master_key, message}`; `:wrong_master_key`, the backup was begun with another one;
  `{:master_key_refused, why}`; `{:other_backup, %{context: name, shards: n}}`; `:target_in_use`, another context writes
  to the folder; `{:forked, %{shard: n, position: n}}`, the context was put back to an older state and has gone on, so
  begin a new backup elsewhere; `{:shard_unavailable, n}`; `{:node_unavailable, node}` in a cluster; `:disk_full`.
  """
  @spec run(Warp.context(), keyword) :: {:ok, report} | {:error, Warp.reason()}
  def run(context, options), do: with_target(options, :to, &:warp_backup.run(context, &1, &2))

  @doc """
  Makes a run, and then goes through all segments up to the oldest cut that is kept: merges those that fit into one, and
  leaves out what was deleted. Older cuts cannot be restored any more. Options and errors are those of `run/2`, with
  `:keep`.
  """
  @spec merge(Warp.context(), keyword) :: {:ok, report} | {:error, Warp.reason()}
  def merge(context, options), do: :warp_backup.merge(context, to_map(options))

  @doc """
  Backs a context up again and again, from now on until the context stops or `stop/2` is called, and at once when an
  entity is deleted. Waits for the first run, and gives its report. Called again for the same folder it changes how.

  Options are those of `run/2`, and `:every` (60000), the milliseconds between two runs. What fails later is in the log
  and in `Warp.stats/1`, under `:backups`, and is tried again. Errors are those of `run/2`, with nothing begun.
  """
  @spec start(Warp.context(), keyword) :: {:ok, report} | {:error, Warp.reason()}
  def start(context, options), do: :warp_backup.start(context, to_map(options))

  @doc """
  Ends the backups to a folder that `start/2` has begun, after a run that is under way. Deletions still wait until their
  entities are dead data there. Error: `:not_started`.
  """
  @spec stop(Warp.context(), target) :: :ok | {:error, Warp.reason()}
  defdelegate stop(context, to), to: :warp_backup

  @doc """
  Says that a folder is gone for good, with all that was backed up to it: deletions wait for it no more. Errors:
  `:running`, while a run is under way; `:not_started`.
  """
  @spec forget(Warp.context(), target) :: :ok | {:error, Warp.reason()}
  defdelegate forget(context, to), to: :warp_backup

  @doc """
  Makes a master key: writes 64 random hexadecimal digits to a file that is not there, which only its owner may read.
  Keep a copy of it elsewhere, apart from the backups. Gives `:exists` where there is something of that name.
  """
  @spec new_master_key(Path.t()) :: :ok | :exists | {:error, Warp.reason()}
  defdelegate new_master_key(file), to: :warp_backup

  @doc """
  Has the backup opened by `:new_master_key` in place of `:master_key`: only its object `backup` is replaced. Errors:
  `:no_backup`; those of the master key as for `run/2`.
  """
  @spec rewrap(target, keyword) :: :ok | {:error, Warp.reason()}
  def rewrap(to, options), do: :warp_backup.rewrap(to, to_map(options))

  @doc """
  Of which `:context` a backup is and with how many `:shards`, when it was begun (`:created`, in microseconds since
  1970), and what has wrapped its key (`:wrapped_by`). Needs no key. Error: `:no_backup`.
  """
  @spec about(target) :: {:ok, map} | {:error, Warp.reason()}
  defdelegate about(from), to: :warp_backup

  @doc "The cuts of a backup, the oldest first. Needs no key. Error: `:no_backup`."
  @spec list(target) :: {:ok, [cut]} | {:error, Warp.reason()}
  defdelegate list(from), to: :warp_backup

  @doc """
  Checks a backup: without `:master_key` that all segments are there and as they were written, with it also that
  everything in them can be opened and is whole. Gives how many `:segments` and `:cuts` there are, and with the key also
  how many `:rows` and `:events`, and what was `:erased` and `:cleared` since. Options are those of `restore/2`.

  Error: `{:backup_damaged, message}` names each segment that is damaged, missing or exchanged. Others are those of
  `restore/2`.
  """
  @spec verify(target, keyword) :: {:ok, map} | {:error, Warp.reason()}
  def verify(from, options \\ []), do: :warp_backup.verify(from, to_map(options))

  @doc """
  Looks whether the key pages are as new as the segments: gives the last `:cut` and when it was made (`:at`), when the
  key pages were written (`:keys_at`), and the shards whose keys are `:older` than their segments, none if all is well.
  Where they are older, what is newer cannot be read, and a key that was erased may still be there. Needs no key.
  Option: `:keys_from`. Errors: `:no_backup`, `:no_keys`.
  """
  @spec check(target, keyword) :: {:ok, map} | {:error, Warp.reason()}
  def check(from, options \\ []), do: :warp_backup.check(from, to_map(options))

  @doc """
  Restores a context into `data_dir/CONTEXT`, where there must be none, as it was at a cut, without what was deleted
  since. Start it then as any other, with the name and the number of `:shards` that the answer has. A restore that was
  interrupted goes on when it is called again. Sagas that were under way at the cut go on when the context starts.

    * `:from` - where the backup is, and `:keys_from` where its key pages are, if that is another place.
    * `:master_key` - see `t:master_key/0`.
    * `:until` (`:end`) - the last cut; `{:cut, number}`; or `{:time, time}`, the last one that was made at this
      `DateTime`, or microseconds since 1970, or before.
    * `:entity` (`:all`) - the id of an entity that is restored alone.
    * `:file_access` (`:owner`) - who may read the files; `:umask` for everybody whom the umask lets.
    * `:progress` - a function that is called with `%{done: n, of: n, events: n}` after each segment.

  A run stores keys last. While one is under way, or after one that was interrupted, the newest cut can be left out:
  `:left_out` has its number then, and `:none` else. Who asks for it by `{:cut, number}` gets `{:key_unknown, message}`.

  Errors: `:no_backup`; `:no_keys`; `{:no_such_cut, until}`; `{:not_empty, path}`, there is a context or something else;
  `{:other_restore, path}`, a restore of another cut was interrupted in this folder, which has to be removed;
  `{:backup_damaged, message}` and `{:key_unknown, message}`, with nothing restored; those of the master key as for
  `run/2`; `{:data_dir_in_use, path}`; `:disk_full`.
  """
  @spec restore(Path.t(), keyword) :: {:ok, map} | {:error, Warp.reason()}
  def restore(data_dir, options), do: with_target(options, :from, &:warp_backup.restore(data_dir, &1, &2))

  # An option that is missing is an error as any other.
  defp with_target(options, key, fun) do
    case to_map(options) do
      %{^key => target} = map -> fun.(target, Map.delete(map, key))
      %{} -> {:error, {:missing_option, key}}
      _ -> {:error, {:bad_option, :options, :not_a_map}}
    end
  end

  defp to_map(options) do
    case Options.to_map(options) do
      %{} = map -> Map.new(map, &option/1)
      other -> other
    end
  end

  defp option({key, {:env, name}}) when is_binary(name), do: {key, {:env, String.to_charlist(name)}}
  defp option({:until, {:time, %DateTime{} = time}}), do: {:until, {:time, DateTime.to_unix(time, :microsecond)}}
  defp option(option), do: option
end

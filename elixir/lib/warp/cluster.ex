defmodule Warp.Cluster do
  @moduledoc """
  A context that several nodes share. Each of its shards is on one node, the shard's owner, and every node can be asked
  about every entity: what concerns an entity of another node takes one hop.

  The nodes are VMs with names and the same cookie. Each starts the context with its own folder, and with the same list
  of seed nodes, of which the first one creates the cluster when no other is a member of one:

      children = [
        {Warp,
         context: "payments",
         data_dir: "data",
         aggregates: [Account],
         cluster: {:clustered, seed_nodes: [:"warp@10.0.0.1"]}}
      ]

  A node that joins has no shards at first. Warp moves shards to it, one at a time from each node, while they are used:
  their callers wait for a moment at the end of each move.

  What concerns an entity can give two errors more: `{:node_unavailable, node}`, the node that has the entity cannot be
  reached, and nothing was done; and `{:unknown_outcome, node}`, the connection to it was lost meanwhile, and an append
  may be stored or not: append again with the same event id.

  In a context of a single node every function but `owner/1` gives `{:error, :not_clustered}`. Each can give
  `{:error, :context_stopped}`, `{:error, :interrupted}`, and `{:error, :timeout}` after 5 seconds or the time of the
  option.
  """

  alias Warp.Options

  @typedoc """
  A member. It is `:up`, with shards on it or coming to it; `:leaving`, while it gives its shards away; `:left`, without
  any; `:forgetting`, when somebody began to forget it and has to go on (`forget/3`); or `:forgotten`, and the others
  take it in no more. `is_linked` says whether this node can reach it now,
  `incarnation` how often it was started, and `shards` how many it has.
  """
  @type member :: %{
          node: node,
          state: :up | :leaving | :left | :forgetting | :forgotten,
          is_linked: boolean,
          incarnation: pos_integer,
          shards: non_neg_integer
        }
  @typedoc """
  What a node knows of its cluster. While it is `:joining` it looks for it; in `:doubt` it does not serve its shards,
  and `why` says so. `shards` has by node the numbers of the shards on it; `:unknown` are those that this node has not
  heard of.
  """
  @type status :: %{
          node: node,
          phase: :joining | :doubt | :member,
          why: :none | {:in_doubt, term},
          members: [member],
          shards: %{optional(node | :unknown) => [non_neg_integer]}
        }
  @typedoc """
  What is moving. `text` has all of it for people. `to_move` shards are not where `ring/1` says, those under way among
  them, with about `entities_to_move` entities. `moved` shards with about `entities` and with `bytes` were handed over
  since the nodes were started, and `pauses_ms` is how long their callers waited. Of the hand-offs under way,
  `copied_bytes` of `of_bytes` are copied, at `bytes_per_second` and `entities_per_second`. `alarms` are shards whose
  hand-off stands still, with the node that says so and why, and `unreachable` nodes that could not be asked.
  """
  @type progress :: :warp_cluster.progress()

  @doc """
  The members of the cluster as this node knows them, in the order of their names.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.Cluster.members(bank)
      {:error, :not_clustered}
  """
  @spec members(Warp.context()) :: {:ok, [member]} | {:error, Warp.reason()}
  defdelegate members(context), to: :warp_cluster

  @doc """
  The node that the entity is on, as this node knows it; `:unknown` before it has heard. Of a context of a single node
  it is this one. Errors: `:context_stopped`, `{:bad_entity_id, why}`.

      iex> {:ok, bank} = Warp.context("bank")
      iex> {:ok, node} = Warp.Cluster.owner(Warp.entity(bank, "alice"))
      iex> node == node()
      true
  """
  @spec owner(Warp.entity()) :: {:ok, node | :unknown} | {:error, Warp.reason()}
  defdelegate owner(entity), to: :warp_cluster

  @doc "All that this node knows of the cluster."
  @spec status(Warp.context()) :: {:ok, status} | {:error, Warp.reason()}
  defdelegate status(context), to: :warp_cluster

  @doc """
  On which node each shard should be: as many on each member that is `:up` as on any other, within one. Warp moves the
  shards that are elsewhere.
  """
  @spec ring(Warp.context()) :: {:ok, %{non_neg_integer => node}} | {:error, Warp.reason()}
  defdelegate ring(context), to: :warp_cluster

  @doc "What is moving, asked of all members. Waits for 5 seconds at most."
  @spec progress(Warp.context()) :: {:ok, progress} | {:error, Warp.reason()}
  defdelegate progress(context), to: :warp_cluster

  @doc """
  Waits until each shard is where `ring/1` says, also for members that cannot be reached now. Warp moves shards by
  itself, and nobody has to call this. While moves are paused this begins them again on this node.

  Option: `:timeout` (`:infinity`) in milliseconds. After the error `:timeout` the moves go on.
  """
  @spec migrate(Warp.context(), keyword) :: :ok | {:error, Warp.reason()}
  def migrate(context, options \\ []), do: :warp_cluster.migrate(context, Options.to_map(options))

  @doc "Begins no more hand-offs of this node's shards, until `resume/1`. What is under way goes on."
  @spec pause(Warp.context()) :: :ok | {:error, Warp.reason()}
  defdelegate pause(context), to: :warp_cluster

  @doc "Hands this node's shards over again, after `pause/1`."
  @spec resume(Warp.context()) :: :ok | {:error, Warp.reason()}
  defdelegate resume(context), to: :warp_cluster

  @doc """
  Gives all shards of this node to the other members, and answers when that is done: the node can be stopped then for
  good. Until it is stopped it still takes calls, and sends them on. A node that has left, and is started again, joins
  as a new one.

  Option: `:timeout` (`:infinity`) in milliseconds. Errors: `:timeout`, and the node goes on giving its shards away;
  `:last_member`, no other member takes shards; `:disk_full` and `{:io_error, message}`, it could not be noted.
  """
  @spec leave(Warp.context(), keyword) :: :ok | {:error, Warp.reason()}
  def leave(context, options \\ []), do: :warp_cluster.leave(context, Options.to_map(options))

  @doc """
  Forgets members that are lost for good, with their disks: an operator knows that they will never run again. Other
  members take their shards over. A shard of which another member has a copy, since it was about to move, goes on with
  what that has; all others are empty, and their entities begin with seq 1. Read models keep what they have of lost
  events, until they are rebuilt. A node of that name, with an empty folder, can join again. It cannot be taken back.

  All other members have to run, so members that are lost together are forgotten together: give a list of them.

  Option: `:timeout` (`:infinity`) in milliseconds. When it is over, or another error comes, a part may be done: forget
  the node again. Errors: `{:not_a_member, node}`; `{:node_up, node}`, it can be reached; `{:node_unavailable, node}`,
  another member cannot be reached; `:timeout`; `:disk_full` and `{:io_error, message}`, it could not be noted.
  """
  @spec forget(Warp.context(), node | String.t() | [node | String.t()], keyword) :: :ok | {:error, Warp.reason()}
  def forget(context, nodes, options \\ []), do: :warp_cluster.forget(context, nodes, Options.to_map(options))

  @doc """
  Takes this node's folder for the right one, for an operator who knows that it is: the node serves its shards then, but
  for those that another member owns by now. The context may still be starting, and so its name is enough.

  Errors: `:not_in_doubt`; `:forgotten`, the others have forgotten this node; `:disk_full` and `{:io_error, message}`,
  it could not be noted.
  """
  @spec adopt(Warp.context() | String.t()) :: :ok | {:error, Warp.reason()}
  defdelegate adopt(context_or_name), to: :warp_cluster
end

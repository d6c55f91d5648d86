defmodule Warp.ServerTest do
  # A server of this VM, and a client that knows JSON and HTTP only.
  use ExUnit.Case, async: false
  @compile {:no_warn_undefined, :warp_server}
  alias Account.{Deposited, Withdrawn}

  defmodule Bank do
    @behaviour Warp.Server

    @impl true
    def context("bank") do
      Warp.Server.options(
        aggregates: [Account, Warp.ServerTest.Log],
        commands: [withdraw: {Account, &__MODULE__.withdraw/2}, note: {"Log", &__MODULE__.note/2}],
        views: %{Warp.ServerTest.Log => &__MODULE__.lines/1}
      )
    end

    def withdraw(%Account{balance: balance}, %{"amount" => amount}) when amount <= balance,
      do: {:ok, [%Withdrawn{amount: amount}]}

    def withdraw(%Account{balance: balance}, %{"amount" => amount}), do: {:error, {:missing, amount - balance}}

    def note(_state, %{"text" => nil}), do: {:error, "there is no text"}
    def note(_state, %{"text" => text}), do: {:ok, [%{type: "Noted", payload: %{text: text}}]}

    def lines({:lines, lines}), do: %{lines: lines}
  end

  defmodule Log do
    use Warp.Aggregate, name: "Log", initial_state: {:lines, []}

    @impl true
    def apply({:lines, lines}, %{type: "Noted", payload: %{"text" => text}}), do: {:lines, [text | lines]}
    def apply(lines, _other), do: lines
  end

  setup_all do
    # What `make build` and `make gateway` have made.
    true = Code.append_path(Path.expand("../_build/default/lib/warp_server/ebin"))
    {:ok, _} = Application.ensure_all_started(:inets)
    folder = Path.join(System.tmp_dir!(), "warp_server_#{System.os_time()}")
    on_exit(fn -> File.rm_rf!(folder) end)
    token = :warp_server.new_token()
    sha256 = :crypto.hash(:sha256, token) |> Base.encode16(case: :lower)

    {:ok, server} =
      :warp_server.start_link(%{
        contexts: [%{name: "bank", data_dir: folder, module: Bank}],
        listeners: [%{port: 0}],
        tokens: [%{id: "test", sha256: sha256, scopes: [%{}]}]
      })

    Process.unlink(server)
    on_exit(fn -> Process.exit(server, :shutdown) end)
    [{address, port} | _] = :warp_server.addresses(server)
    %{base: "http://#{address}:#{port}/v1/contexts/bank/entities/", token: token}
  end

  defp ask(%{base: base, token: token}, method, path, body \\ nil) do
    headers = [{'authorization', 'Bearer #{token}'}]
    url = to_charlist(base <> path)
    {:ok, text} = if body, do: :warp_json.encode(body, 1000), else: {:ok, nil}
    request = if body, do: {url, headers, 'application/json', text}, else: {url, headers}
    {:ok, {{_, status, _}, _, answer}} = :httpc.request(method, request, [], body_format: :binary)
    {:ok, term} = :warp_json.decode(answer)
    {status, term}
  end

  test "a command gets structs, and gives them", server do
    assert {200, %{"seq" => 1}} =
             ask(server, :post, "alice/events", %{type: "Deposited", payload: %{amount: 50}, aggregate: "Account"})

    assert {200, %{"seqs" => [2]}} = ask(server, :post, "alice/commands/withdraw", %{input: %{amount: 20}})
    assert {200, %{"state" => %{"balance" => 30}}} = ask(server, :get, "alice/states/Account")
    {:ok, bank} = Warp.context("bank")

    assert {:ok, [%{payload: %Deposited{amount: 50}}, %{payload: %Withdrawn{amount: 20}, aggregate: "Account"}]} =
             Warp.history(Warp.entity(bank, "alice"))

    assert {422, %{"code" => "rejected", "parameters" => %{"refusal" => ["missing", 70]}}} =
             ask(server, :post, "alice/commands/withdraw", %{input: %{amount: 100}})
  end

  test "null is nil, and a view shows what has no form in JSON", server do
    assert {422, %{"detail" => "The command refused: there is no text"}} =
             ask(server, :post, "log/commands/note", %{input: %{text: :null}})

    assert {200, %{"seqs" => [1]}} = ask(server, :post, "log/commands/note", %{input: %{text: "one"}})
    assert {200, %{"state" => %{"lines" => ["one"]}}} = ask(server, :get, "log/states/Log")
  end

  test "what is wrong is said" do
    assert_raise ArgumentError, ~r/aggregates/, fn -> Warp.Server.options(aggregates: [String]) end
    assert %{commands: %{"x" => :none}} = Warp.Server.options(aggregates: [Account], commands: [x: :none])
  end
end

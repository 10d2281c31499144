// Java's own client as it is made by default: it offers HTTP/2 with every request. Arguments: key, body, ports.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class UpgradingClient {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int port = 2; port < arguments.length; port++) {
            URI address = URI.create("http://127.0.0.1:" + arguments[port] + "/sdapi/v1/txt2img");
            HttpRequest request = HttpRequest.newBuilder(address)
                .header("Authorization", "Bearer " + arguments[0])
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(arguments[1]))
                .build();
            for (int call = 0; call < 2; call++) {
                HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                System.out.println(arguments[port] + " " + answer.statusCode() + " " + answer.body());
            }
        }
    }
}
